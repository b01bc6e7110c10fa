"""Dynamic weight grafting: at which positions, components and layers does which model's weights serve a prompt?

    grafted = GraftedModel(recipient=pre, donors={"sft": sft})
    scores = grafted.score(prompts, [parse_scheme(text, donor="sft") for text in ("PRE", "FE+LT", "(FE+LT)^C")])

schemes.py and notation.py need no torch; the rest is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .notation import NotationError
from .schemes import Graft, Prompt, Scheme, parse_scheme

if TYPE_CHECKING:
    from .encoding import encode_prompt
    from .model import GraftedModel
    from .scores import Scores

__all__ = [
    "Graft",
    "GraftedModel",
    "NotationError",
    "Prompt",
    "Scheme",
    "Scores",
    "encode_prompt",
    "parse_scheme",
]

# torch takes seconds to import, and checking the schemes of a params.yaml does not need it.
_LAZY = {"GraftedModel": ".model", "Scores": ".scores", "encode_prompt": ".encoding"}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'stages.grafting' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
