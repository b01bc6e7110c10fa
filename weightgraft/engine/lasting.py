"""Whether models still have the type and the device that they had when they were given."""

import weakref
from collections.abc import Callable, Mapping

import torch
from torch import nn

from .mixtures import whole_of
from .schemes import RECIPIENT

Kind = frozenset[tuple[torch.dtype, torch.device]]


def held_to(models: Mapping[str, object]) -> Callable[[], None]:
    """Something to call before every pass: it raises ValueError where a model has been changed in type or device since.

    Grafting shares the models' tensors, and torch changes type and device of some of them in place only. The models are not
    kept alive; those that are no modules (folders of adapters) cannot change.
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
    return frozenset((parameter.dtype, parameter.device) for parameter in model.parameters())


def _said(kind: Kind) -> str:
    return ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kind))
