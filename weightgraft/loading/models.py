"""From checked directories to a rehearsal without weights, and to the grafted model."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
)
from transformers.utils import logging

from weightgraft import GraftedModel, Prompt, Scheme
from weightgraft.engine.clone import shallow_clone
from weightgraft.errors import UserError
from weightgraft.loading.configs import skeleton
from weightgraft.loading.folders import ADAPTER_WEIGHTS, is_adapter, local_config

LONGEST = 600  # letters of an error of transformers or peft, which may list every weight
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@contextmanager
def one_line_errors(
    prefix: str = "", hint: str = "", more: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """What the engine and transformers refuse, as one line. more: kinds of errors beside the usual ones."""
    kinds: tuple[type[Exception], ...] = (ValueError, FloatingPointError, OSError, *more)
    try:
        yield
    except kinds as error:
        told = " ".join(str(error).split())
        raise UserError(prefix + (told[:LONGEST] + " ..." if len(told) > LONGEST else told) + hint) from None


def be_quiet() -> None:
    """No notices and no bars of transformers and peft: stderr is for ours."""
    warnings.simplefilter(
        "ignore", FutureWarning
    )  # peft asks transformers for names that it is about to drop
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def chosen_device(name: str) -> torch.device:
    """auto: the GPU where there is one.

    Raises:
        UserError: cuda is wanted, and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU here; choose auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def rehearse(
    recipient: Path, donors: Mapping[str, Path], prompt: Prompt, schemes: Sequence[Scheme]
) -> GraftedModel:
    """The engine on models without weights: what it refuses in their make-up, the prompt or the schemes, it refuses now.

    An adapter is represented by its base; whether it fits is known when it is loaded. Returns the engine, to be asked for
    its anatomy.

    Raises:
        UserError: the engine's refusal.
    """
    option = f"--recipient {recipient}"
    base = skeleton(option, local_config(str(recipient)) or {})
    skeletons = {
        name: base
        if is_adapter(folder)
        else skeleton(f"--donor {name}={folder}", local_config(str(folder)) or {})
        for name, folder in donors.items()
    }
    with one_line_errors():
        grafted = GraftedModel(base, skeletons)
        grafted.node_counts([prompt], schemes)
    return grafted


def load_grafted(
    recipient: Path, donors: Mapping[str, Path], dtype: torch.dtype, device: torch.device
) -> GraftedModel:
    """All models, on one device and in one type, in the engine. An adapter stays low-rank.

    Raises:
        UserError: a weight is missing or not a finite number, or the engine refuses a donor.
    """
    base = _load_model(f"--recipient {recipient}", recipient, dtype, device)
    loaded: dict[str, PreTrainedModel | str] = {}
    for name, folder in donors.items():
        option = f"--donor {name}={folder}"
        if is_adapter(folder):
            with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
                keys = file.keys()  # the file itself cannot be iterated over
                for key in keys:
                    _check_finite(option, key, file.get_tensor(key))
            loaded[name] = str(folder)
        else:
            loaded[name] = _load_model(option, folder, dtype, device)
    with one_line_errors(more=(RuntimeError,)):  # peft: an adapter of another shape
        return GraftedModel(base, loaded)


def _load_model(option: str, folder: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    with one_line_errors(f"{option}: ", more=(RuntimeError,)):  # such as weights of another shape
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **LOCAL
        )
    model, told = loaded
    # transformers draws what is missing at random, and goes on.
    if missing := sorted(told["missing_keys"]):
        raise UserError(f"{option}: {len(missing)} weights are missing, the first {missing[0]}")
    for name, parameter in model.named_parameters():
        _check_finite(option, name, parameter)
    return model.to(device).eval()


def _check_finite(option: str, name: str, weight: Tensor) -> None:
    # One pass without a table of booleans; NaN and infinity both reach an end.
    ends = torch.stack(torch.aminmax(weight.detach()))
    if not ends.isfinite().all():
        raise UserError(f"{option}: {name} holds NaN or infinite numbers (as {weight.dtype})")
