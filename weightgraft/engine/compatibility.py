"""Which models may be grafted onto each other: those whose code computes the same, whatever their weights."""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from weightgraft.notes import note

from .configs import differences, idle_differences, longest_prompt
from .rows import table_paths
from .words import brief

WIDTH = 120  # letters of a value; the names of a whole layer's parameters take more


def check_donor(name: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """Raises ValueError that names the first difference between a dense donor and the recipient.

    Compared: class, config (what the model's code reads of it, configs.py), names, shapes, types and device of all
    parameters. Tied and untied models may be mixed: embed and unembed are separate components. Their numbers of rows may
    differ: rows.py grafts those that all have.
    """
    check_make(name, donor, recipient)
    _refuse_first(name, _parameter_pairs(donor, recipient))


def check_make(name: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """Raises ValueError that names the first difference in class or config: all that can be said of a LoRA donor's
    base before its weights are compared. What differs in the configs and changes no number is a note."""
    _refuse_first(name, [("architecture", _architecture(donor), _architecture(recipient))])
    _refuse_first(
        name, ((f"config.{entry}", theirs, ours) for entry, theirs, ours in differences(donor, recipient))
    )
    if idle := idle_differences(donor, recipient):
        limit = longest_prompt(donor, recipient)
        shorter = limit < longest_prompt(recipient)
        note(
            f"donor {name!r}: its config differs from the recipient's in what changes no number: {', '.join(idle)}"
            + (f"; prompts may have up to {limit} tokens" if shorter else "")
        )


def _architecture(model: nn.Module) -> str:
    """The class of transformers' own that a model is, or that somebody's own class is made of; what else that does, its numbers
    tell (probing.py)."""
    theirs = [kind for kind in type(model).__mro__ if kind.__module__.startswith("transformers.models.")]
    return (theirs or [type(model)])[0].__name__


Pairs = Iterable[tuple[str, object, object]]  # what, the donor's, the recipient's


def _refuse_first(name: str, pairs: Pairs) -> None:
    for what, theirs, ours in pairs:
        if theirs != ours:
            told = f"{brief(str(theirs), WIDTH)}, recipient {brief(str(ours), WIDTH)}"
            raise ValueError(f"donor {name!r} differs from the recipient in {what}: {told}")


def _parameter_pairs(donor: PreTrainedModel, recipient: PreTrainedModel) -> Pairs:
    parameters = dict(recipient.named_parameters(remove_duplicate=False))
    others = dict(donor.named_parameters(remove_duplicate=False))
    tables = table_paths(recipient)
    yield "parameters", sorted(others.keys() - parameters.keys()), sorted(parameters.keys() - others.keys())
    for key, parameter in parameters.items():
        rows = 1 if key.rpartition(".")[0] in tables else 0
        yield f"the shape of {key}", tuple(others[key].shape)[rows:], tuple(parameter.shape)[rows:]
        yield f"the type of {key}", others[key].dtype, parameter.dtype
        yield f"the device of {key}", others[key].device, parameter.device


def base_differences(base: nn.Module, recipient: PreTrainedModel) -> Iterator[tuple[str, str]]:
    """Parameters of the adapter's base that are not the recipient's; of embedding and unembedding, in the rows that both have."""
    tables = table_paths(recipient)
    for path, parameter in recipient.named_parameters(remove_duplicate=False):
        module_path, _, leaf = path.rpartition(".")
        module = base.get_submodule(module_path)
        module = getattr(module, "base_layer", getattr(module, "original_module", module))
        theirs, ours = cast(Tensor, getattr(module, leaf)), cast(Tensor, parameter)
        if module_path in tables and theirs.shape[1:] == ours.shape[1:]:
            rows = min(len(theirs), len(ours))
            theirs, ours = theirs[:rows], ours[:rows]
        if theirs.shape != ours.shape:
            yield path, f"shape {tuple(theirs.shape)}, recipient {tuple(ours.shape)}"
        elif theirs.device != ours.device:
            yield path, f"device {theirs.device}, recipient {ours.device}"
        elif theirs.data_ptr() != ours.data_ptr() and not torch.equal(theirs, ours):
            yield path, "other weights"
