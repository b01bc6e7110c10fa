"""What a donor may be, and where its modules and updates are found."""

import os
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from .leaves import LowRank
from .lora import is_lora, lora_leaves
from .objects import check_dense_donor

# A peft model is an nn.Module only.
Donor = PreTrainedModel | nn.Module | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def source_of(
    name: str, donor: Donor, recipient: PreTrainedModel, paths: list[str]
) -> Callable[[str], nn.Module | LowRank | None]:
    """Where to find a donor's module, or update, of each path."""
    if is_lora(donor):
        return lora_leaves(name, donor, recipient, paths).get
    return check_dense_donor(name, donor, recipient).get_submodule


def base_of(donor: Donor, recipient: PreTrainedModel) -> PreTrainedModel:
    """The model whose code a donor runs: itself, or the one that carries an adapter."""
    if isinstance(donor, PreTrainedModel):
        return donor
    return (
        recipient if isinstance(donor, (str, os.PathLike, list, tuple)) else cast(Any, donor).get_base_model()
    )
