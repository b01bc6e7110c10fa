"""What a donor may be, and where its modules and updates are found."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from .leaves import LowRank
from .lora import is_lora, lora_leaves
from .mixtures import Interpolated, Sparse, whole_of
from .objects import check_dense_donor
from .planning import LAST
from .schemes import RECIPIENT
from .words import NAME, shown

# A peft model is an nn.Module only.
Donor = (
    PreTrainedModel
    | nn.Module
    | str
    | os.PathLike[str]
    | Sequence[str | os.PathLike[str]]
    | Interpolated
    | Sparse
)


def check_names(donors: object) -> None:
    """Raises ValueError where donors have no names, or names that schemes and routes cannot call them."""
    if not isinstance(donors, Mapping):
        raise ValueError(f"donors: a {type(donors).__name__}; give them by names: {{'sft': model}}")
    for name in donors:
        if not isinstance(name, str) or not re.fullmatch(NAME, name) or name in (RECIPIENT, LAST):
            raise ValueError(
                f"donor {shown(name)}: a name is letters, digits and _, and neither {RECIPIENT!r}, which is what schemes call "
                f"the recipient, nor {LAST!r}, which is a decode_route"
            )


def sources_of(
    donors: Mapping[str, Donor], recipient: PreTrainedModel, paths: list[str]
) -> list[Callable[[str], nn.Module | LowRank | None]]:
    """For each donor, where to find its modules; for a mixture, those of what it is made of, which are checked once."""
    for name, donor in donors.items():
        if whole_of(whole_of(donor)) is not whole_of(donor):
            raise ValueError(
                f"donor {name!r}: a mixture of a mixture; mix the models themselves (strengths multiply: Interpolated(of, a * b))"
            )
    known = {id(whole_of(donor)): (name, whole_of(donor)) for name, donor in reversed(list(donors.items()))}
    sources = {key: source_of(name, whole, recipient, paths) for key, (name, whole) in known.items()}
    return [sources[id(whole_of(donor))] for donor in donors.values()]


def source_of(
    name: str, donor: Donor, recipient: PreTrainedModel, paths: list[str]
) -> Callable[[str], nn.Module | LowRank | None]:
    """Where to find a donor's module, or update, of each path."""
    if is_lora(donor):
        return lora_leaves(name, donor, recipient, paths).get
    return check_dense_donor(name, donor, recipient).get_submodule


def base_of(donor: Donor, recipient: PreTrainedModel) -> PreTrainedModel:
    """The model whose code a donor runs: itself, or the one that carries an adapter."""
    donor = whole_of(donor)
    if isinstance(donor, PreTrainedModel):
        return donor
    return (
        recipient if isinstance(donor, (str, os.PathLike, list, tuple)) else cast(Any, donor).get_base_model()
    )
