"""Whether models still have the type and the device that they had when they were given."""

import weakref
from collections.abc import Callable, Mapping

import torch
from torch import nn

from .mixtures import whole_of
from .schemes import RECIPIENT

Kind = frozenset[tuple[torch.dtype, torch.device]]


def held_to(models: Mapping[str, object]) -> Callable[[], None]:
    """Something to call before models are asked: it raises ValueError where a model has been changed in type or device since.

    Grafting shares the models' tensors, and torch changes type and device of some of them in place only. A peft model's A and B
    were copied, so that of it only saved modules count. The models are not kept alive; folders of adapters cannot change.
    """
    whole = {name: whole_of(model) for name, model in models.items()}
    given = [
        (name, weakref.ref(model), _kind(model))
        for name, model in whole.items()
        if isinstance(model, nn.Module)
    ]

    def check() -> None:
        for name, reference, kind in given:
            model = reference()
            if model is not None and _kind(model) != kind:
                what = name if name == RECIPIENT else f"donor {name!r}"
                raise ValueError(
                    f"{what} was changed after it was given: its weights are {_said(_kind(model))}, they were {_said(kind)}; "
                    "make GraftedModel anew with it"
                )

    return check


def _kind(model: nn.Module) -> Kind:
    shared = model.named_parameters()
    if hasattr(model, "peft_config"):
        shared = ((name, weight) for name, weight in shared if ".modules_to_save." in name)
    return frozenset((weight.dtype, weight.device) for _, weight in shared)


def _said(kind: Kind) -> str:
    return ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kind))
