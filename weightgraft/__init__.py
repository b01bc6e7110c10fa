"""Dynamic weight grafting: at which positions, components and layers does which model's weights serve a prompt?

    from weightgraft import GraftedModel, encode_prompt, parse_scheme

    grafted = GraftedModel(recipient=pre, donors={"sft": sft})
    scores = grafted.score(prompts, [parse_scheme(text, donor="sft") for text in ("PRE", "FE+LT", "(FE+LT)^C")])

In a notebook (examples/quickstart.ipynb): scores.to_frame(schemes) is a pandas table, score_map(grafted, prompt, "sft") asks every
single layer at every single token, and plot_map(found, tokenizer) draws what it found.

The engine is in weightgraft/engine; loading/ reads checkpoints from folders, inspection/ is the command `weightgraft inspect`,
explorer/ is `weightgraft explore`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.encoding import encode_prompt
    from .engine.mixtures import Interpolated, Sparse
    from .engine.model import GraftedModel
    from .engine.notation import NotationError
    from .engine.schemes import Cut, Graft, Prompt, Scheme, parse_scheme
    from .engine.scores import Scores
    from .inspection.maps import plot_map
    from .inspection.measure import CellMap, score_map

__all__ = [
    "CellMap",
    "Cut",
    "Graft",
    "GraftedModel",
    "Interpolated",
    "NotationError",
    "Prompt",
    "Scheme",
    "Scores",
    "Sparse",
    "encode_prompt",
    "parse_scheme",
    "plot_map",
    "score_map",
]

__version__: str  # of the installed package; told when it is asked for

# Imported when asked for: torch takes seconds, and whoever wants errors.py or style.py needs nothing of the engine.
_HOMES = {
    "CellMap": "inspection.measure",
    "Cut": "engine.schemes",
    "Graft": "engine.schemes",
    "GraftedModel": "engine.model",
    "Interpolated": "engine.mixtures",
    "NotationError": "engine.notation",
    "Prompt": "engine.schemes",
    "Scheme": "engine.schemes",
    "Scores": "engine.scores",
    "Sparse": "engine.mixtures",
    "encode_prompt": "engine.encoding",
    "parse_scheme": "engine.schemes",
    "plot_map": "inspection.maps",
    "score_map": "inspection.measure",
}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("weightgraft")
    except PackageNotFoundError:  # a checkout that was not installed
        return "0+unknown"


def __getattr__(name: str):
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'weightgraft' has no attribute {name!r}")
    return getattr(import_module(f"weightgraft.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
