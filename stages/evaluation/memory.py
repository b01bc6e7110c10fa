"""The memory of an evaluation, by arithmetic: of models, of a pass over packed tokens, and what fits where.

`python -m stages.evaluation.memory` prints the table of the paper's four models. The models are built on torch's meta device:
transformers' own modules, all of them but the numbers.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from weightgraft.engine.model import LOGITS_AT_ONCE

GB = 10**9
CARD = 24 * GB  # what a card "of 24 GB" has, and a little less
CONTEXT = 10**9  # CUDA's own, and what its allocator cannot use for fragments
USED = 0.8  # of the free memory, by a budget chosen here: the rest is for what the arithmetic leaves out
LORA_RANK = 16  # of params.yaml's recipe

# The published configurations of the paper's models, as far as they are not the defaults of transformers' classes.
PUBLISHED: dict[str, dict[str, Any]] = {
    "gpt2-xl": {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25},
    "pythia-2.8b": {
        "model_type": "gpt_neox",
        "hidden_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 10240,
        "vocab_size": 50304,
    },
    "llama-3.2-1b": {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "gemma-1.1-2b": {
        "model_type": "gemma",
        "hidden_size": 2048,
        "num_hidden_layers": 18,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "intermediate_size": 16384,
        "vocab_size": 256000,
    },
}


@dataclass(frozen=True)
class Sizes:
    """Of a model: parameters (a tied tensor once), the largest matrix of a block, numbers in its buffers, and of a LoRA adapter
    of rank 1 on every linear module but the unembedding."""

    parameters: int
    largest_matrix: int
    buffer_bytes: int
    lora_per_rank: int


def published_config(name: str) -> PreTrainedConfig:
    return AutoConfig.for_model(**PUBLISHED[name])


def sizes_of(model: PreTrainedModel) -> Sizes:
    """The sizes of a model, be it on the meta device."""
    unembed = model.get_output_embeddings()
    matrices = [
        module.weight.shape
        for module in model.modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not unembed
    ]
    return Sizes(
        parameters=model.num_parameters(),
        largest_matrix=max(shape.numel() for shape in matrices),
        buffer_bytes=sum(buffer.nbytes for buffer in model.buffers()),
        lora_per_rank=sum(sum(shape) for shape in matrices),
    )


def built(config: PreTrainedConfig) -> Sizes:
    """The sizes of a configuration's model, which is built without its numbers."""
    with torch.device("meta"):
        return sizes_of(AutoModelForCausalLM.from_config(config))


def bytes_a_token(config: PreTrainedConfig, width: int, nodes: int) -> int:
    """What one token of a pass takes at most while a block works. width: bytes of a number of the model's dtype.

    nodes: tokens at most, to which a token attends: those of its tile. What may be there at once, counted generously:
    - the residual stream, its norm, and what a block adds: 4 rows of the hidden size, and 1 of float32 within the norm;
    - of attention, keys and values repeated for every query head: the projections, with rotary positions, regrouped by prompts:
      9 rows of all heads; scores and probabilities in float32; the mask, and the distances it is made of;
    - of the FFN: gate, up, and three results of the activation on the way down: 5 rows of the intermediate size.
    """
    hidden, heads = config.hidden_size, config.num_attention_heads
    head = getattr(config, "head_dim", None) or hidden // heads
    given = (getattr(config, name, None) for name in ("intermediate_size", "n_inner"))
    intermediate = next(filter(None, given), 4 * hidden)  # GPT-2's n_inner may be left out
    rows = 4 * hidden + 9 * heads * head + 5 * intermediate
    attention = nodes * (2 * 4 * heads + width + torch.int64.itemsize + torch.bool.itemsize)
    return width * rows + 4 * hidden + attention


def bytes_beside(width: int, largest_matrix: int) -> int:
    """What a pass takes whatever its tokens: the logits that are read at once, in the model's dtype and in float32 with two results
    (one of them in comparison with the target), and a matrix of which single columns are grafted, copied."""
    return LOGITS_AT_ONCE * (width + 3 * 4 + torch.bool.itemsize) + width * largest_matrix


def fitting_budget(config: PreTrainedConfig, width: int, largest_matrix: int, nodes: int, free: int) -> int:
    """The token budget that fits into `free` bytes, at least 1: a power of two, so that a little more or less of free memory
    gives the same batches, and with them the same digits."""
    room = int(USED * free) - bytes_beside(width, largest_matrix)
    tokens = max(1, room // bytes_a_token(config, width, nodes))
    return 2 ** (tokens.bit_length() - 1)


def evaluation_bytes(
    config: PreTrainedConfig,
    sizes: Sizes,
    dtype: torch.dtype,
    donor: Literal["dense", "lora"],
    budget: int,
    nodes: int,
) -> int:
    """The memory of a recipient, one donor and a pass of `budget` tokens. A LoRA donor's factors are float32."""
    width = dtype.itemsize
    model = sizes.parameters * width + sizes.buffer_bytes
    beside = model if donor == "dense" else 4 * LORA_RANK * sizes.lora_per_rank
    one_pass = budget * bytes_a_token(config, width, nodes) + bytes_beside(width, sizes.largest_matrix)
    return model + beside + one_pass


def table(budget: int = 4096, nodes: int = 192) -> list[str]:
    """Markdown: of the paper's models, gigabytes with a dense and with a LoRA donor; marked where they do not fit a 24 GB card."""
    kinds: list[tuple[torch.dtype, Literal["dense", "lora"]]] = [
        (dtype, donor) for dtype in (torch.bfloat16, torch.float32) for donor in ("dense", "lora")
    ]
    names = {"dense": "two dense models", "lora": "one, and LoRA"}
    heads = [f"{names[donor]}, {str(dtype).removeprefix('torch.')}" for dtype, donor in kinds]
    lines = [f"| model | parameters | {' | '.join(heads)} |", "|---" * (2 + len(kinds)) + "|"]
    for name in PUBLISHED:
        config = published_config(name)
        sizes = built(config)
        cells = [f"{sizes.parameters:,}"]
        for dtype, donor in kinds:
            need = evaluation_bytes(config, sizes, dtype, donor, budget, nodes)
            cells.append(f"{need / GB:.1f} GB" + ("" if fits(need) else ": does not fit"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def fits(need: int, card: int = CARD) -> bool:
    """Whether an evaluation of these bytes fits a card, CUDA's own memory beside it."""
    return need + CONTEXT <= card


if __name__ == "__main__":
    print("\n".join(table()))
