"""Which items the study has: dvc.yaml's matrices in one list, for what looks at all of them."""

from collections.abc import Mapping
from itertools import product
from typing import Any

Item = tuple[str, int, str]  # model, seed, setup


def summary_items(study: Mapping[str, Any]) -> list[Item]:
    """(model, seed, setup) of every per-fact table, in the order in which they are shown.

    study: the section of params.yaml. A recipe's model grafted onto its base is the setup of the recipe's name.
    """
    repeats, new_form = study["repeats"], study["new_form"]
    return [
        *product(study["models"], study["seeds"], [*study["recipes"], *study["own"], *study["setups"]]),
        *product(repeats["models"], repeats["seeds"], [*repeats["recipes"], *repeats.get("setups", [])]),
        *product(new_form["models"], study["seeds"], [*new_form["recipes"], *new_form["setups"]]),
    ]


def finetune_items(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(model, recipe) of everything that is finetuned, whatever the seed."""
    repeats, new_form = study["repeats"], study["new_form"]
    items = [
        *product(study["models"], [*study["recipes"], *study["own"], *study["parts"]]),
        *product(repeats["models"], repeats["recipes"]),
        *product(new_form["models"], [*new_form["recipes"], *study["parts"]]),
    ]
    return list(dict.fromkeys(items))
