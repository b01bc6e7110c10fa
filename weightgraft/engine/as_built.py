"""Whether a model still is what its config builds. Grafting reads the config where a model read it once, when it was built: an
entry, or a plain attribute of a module, that was changed behind that says something else than the model computes."""

import copy
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from .configs import DROPOUT, INERT, UNSAID, grows
from .origins import is_known
from .words import brief, shown

# Attributes of modules that change no number here, beside what such entries of configs are called (INERT) and dropout: training,
# what a token's row gets of a gradient, how a kernel is chosen, and how long the longest prompt was (clone.py).
IDLE = frozenset({
    "inplace", "kernel_config", "loss_type", "max_seq_len_cached", "padding_idx", "scale_grad_by_freq", "sparse", "training",
})  # fmt: skip
ROWS = frozenset({"num_embeddings", "out_features"})  # of tables: their weights tell (rows.py)
KEPT = 4  # what is built of a config is remembered: recipient and donors mostly have one
Built = dict[str, tuple[type, dict[str, Any]]]  # of every module: its class, and its plain attributes
_known: dict[tuple[type, type, str], Built] = {}


def check_as_built(what: str, model: PreTrainedModel) -> None:
    """Raises ValueError for the first plain attribute of a module that is another than in a model that is built anew from the
    config. Compared are modules of the same class, and what the new ones have: what others hang on modules changes nothing."""
    if (built := as_configured(what, model)) is None:
        return
    modules = dict(model.named_modules(remove_duplicate=False))
    tables = (model.get_input_embeddings(), model.get_output_embeddings())
    for path, (kind, attributes) in built.items():
        module = modules.get(path)
        if type(module) is not kind or isinstance(module, nn.Dropout):
            continue
        assert module is not None
        for name, value in attributes.items():
            ours = vars(module).get(name, value)
            if _equal(ours, value) or (name in ROWS and any(module is table for table in tables)):
                continue
            raise ValueError(
                f"{what}: {path or 'the model'} ({type(module).__name__}) has {name} {shown(ours)}, by its config it has "
                f"{shown(value)}: config or module were changed after the model was built; load it anew, entries of the config "
                "with it: from_pretrained(folder, entry=value)"
            )


def as_configured(what: str, model: PreTrainedModel) -> Built | None:
    """The modules of a model of the same class that is built anew from the config, without numbers; None where a class of one's
    own cannot be. Raises ValueError where transformers builds no model of it."""
    written = {key: value for key, value in model.config.to_dict().items() if key not in UNSAID}
    key = type(model), type(model.config), repr(sorted(written.items()))
    if key not in _known:
        config = copy.deepcopy(model.config)
        config.pad_token_id = None  # the embedding may have no row for it, and only training asks for it
        try:
            with torch.device("meta"):
                built = type(model)(config)
        except Exception as error:
            if not is_known(type(model).__module__):
                return None  # its constructor may ask for more; probing.py asks the model itself
            raise ValueError(
                f"{what}: transformers builds no model of its config, which was changed after the model was built; load it anew: "
                f"{type(error).__name__}: {brief(str(error))}"
            ) from error
        while len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = {
            path: (type(module), plain_attributes(module)) for path, module in built.named_modules()
        }
    return _known[key]


def plain_attributes(module: nn.Module) -> dict[str, Any]:
    """What of a module's own attributes is a plain value and may change a number."""
    return {
        name: value
        for name, value in vars(module).items()
        if (value is None or isinstance(value, int | float | str))
        and not (name in IDLE or name in INERT or name.startswith("_"))
        and not any(word in name for word in (*DROPOUT, "layerdrop"))
        # A length that only growing frequencies read.
        and (name != "original_max_seq_len" or grows(cast(Any, module).config))
    }


def _equal(ours: Any, value: Any) -> bool:
    try:
        return bool(ours == value)
    except (RuntimeError, ValueError):  # of tensors and arrays of several numbers
        return False
