"""The numbers of an adapter's folder, in the types in which peft computes with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from weightgraft.loading.files import ADAPTER_WEIGHTS
from weightgraft.loading.fit import OTHER_ROWS
from weightgraft.loading.headers import adapter_key

PREFIX = "base_model.model."  # of the names in an adapter's file


def load_numbers(
    option: str, model: Any, folder: Path, grown: Sequence[str], recipient: PreTrainedModel
) -> list[str]:
    """Fill the adapter of a peft model that stands on a clone of the recipient with the numbers of its file: A, B and
    magnitudes in float32 (on a base in float64, in that), so that no 16-bit type of file or base rounds them; saved modules in
    the base's type, as peft keeps them.

    grown: names in the file of the embedding and unembedding of a base to which tokens were added; their rows are left out.

    Returns:
        What to note.

    Raises:
        ValueError: the rows of the tokens that the recipient has are not the recipient's: training has changed them.
    """
    from peft import set_peft_model_state_dict
    from peft.utils.save_and_load import get_peft_model_state_dict

    held = load_file(folder / ADAPTER_WEIGHTS, device=str(recipient.device))
    tensors = {adapter_key(key): tensor for key, tensor in held.items()}
    told = [_rows_left_out(option, key, tensors.pop(key), recipient) for key in grown]
    set_peft_model_state_dict(model, tensors, low_cpu_mem_usage=True)
    # peft has rounded A and B to the base's type on its way; from_pretrained does not, and keeps them in float32.
    by_name = dict(model.named_parameters(remove_duplicate=False))
    by_key = get_peft_model_state_dict(model, state_dict=by_name, save_embedding_layers=False)
    wide = torch.promote_types(recipient.dtype, torch.float32)
    for key, parameter in by_key.items():
        parameter.data = tensors[key].to(wide if "lora_" in key else recipient.dtype)
    return told


def _rows_left_out(option: str, key: str, theirs: Tensor, recipient: PreTrainedModel) -> str:
    """What to note of an embedding with more rows than the recipient's."""
    name = key.removeprefix(PREFIX).replace(".base_layer.", ".")
    rows = recipient.state_dict()[name]
    if not torch.equal(theirs[: len(rows)].to(rows.dtype), rows):
        raise ValueError(f"{option}: its base differs from the recipient in {name}: {OTHER_ROWS}")
    return (
        f"{option}: {name}: {len(theirs)} rows, of which the first {len(rows)} are the recipient's; those "
        "of the added tokens are left out, and the softmax runs over the recipient's"
    )
