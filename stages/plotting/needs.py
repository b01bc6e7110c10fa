"""What each drawing needs, as data: read by check_params before any work, and by the stage. Imports nothing that is slow."""

from collections.abc import Collection, Mapping
from typing import Any

QUESTIONS = ("headline", "qa")
# Drawing -> the experiments it takes, each from a setup of the figure that has it -> the prompts it cannot do without.
DRAWN_FROM: dict[str, dict[str, tuple[str, ...]]] = {
    "schematic": {},
    "positions": {"positions": ()},
    "own_positions": {"own_positions": ()},
    "metrics": {"positions": ("headline",)},
    "setups": {"positions": ()},
    "paraphrases": {"positions": ("paraphrases",)},
    "families": {"positions": QUESTIONS},
    "title": {"title": ()},
    "unembedding": {"unembedding": ()},
    "layers_only": {"layers_only": ()},
    "necessity": {"necessity": QUESTIONS},
    "collateral": {"collateral": QUESTIONS},
    "answers": {"positions": QUESTIONS},
    "components": {"components": ()},
    "hybrid": {"hybrid": ()},
    "hybrid_components": {"hybrid": ()},
    "patching": {"patching": ()},
    "controls": {
        "random_positions": ("qa", "long"),
        "other_name": ("movie_title_other_name",),
        "pretraining": QUESTIONS,
        "half_known": QUESTIONS,
    },
    "new_form": {"positions": QUESTIONS, "hybrid": QUESTIONS, "position_layer": ("qa",)},
    "strength": {"strength": QUESTIONS},
    "static": {"static": ()},
    "knock_out": {"knock_out": ()},
    "component_map": {"layer_component": ("headline",)},
    "position_map": {"heads": ("headline",), "position_layer": ("headline",)},
}
VARIANTS = 3  # setups that can stand side by side
MAPS = ("component_map", "position_map")  # a column for every layer: a model of 30 has a page of its own
WITHOUT_METRIC = ("schematic", "metrics", "collateral", "answers")  # none, all, or metrics of their own
NEW_FORM = "-new"  # tiny-gpt2-new is tiny-gpt2 with a base that has not seen the forms of the questions


def setups_of(figure: Mapping[str, Any]) -> list[str]:
    """The setups of a figure's entry in params.yaml, which names one or several, or none for the schematic."""
    setup = figure.get("setup") or []
    return [setup] if isinstance(setup, str) else list(setup)


def form_pairs(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(known-form model, its new-form counterpart) of every pair of which the study has both."""
    pairs = [(name.removesuffix(NEW_FORM), name) for name in study["new_form"]["models"]]
    return [(known, new) for known, new in pairs if known != new and known in study["models"]]


def drawn_figures(
    figures: Mapping[str, Any], study: Mapping[str, Any], real: Collection[tuple[str, str]] = ()
) -> list[str]:
    """Names of the figures that the study has the summaries for, all models being in them.

    A page on the new form also needs a model in both forms, and its setups in the new one. real: (model, setup) of what there is of
    really pretrained models; a page on one of them needs its setups there.
    """
    known = {*study["recipes"], *study["own"], *study["setups"]}
    new = {*study["new_form"]["recipes"], *study["new_form"]["setups"]} if form_pairs(study) else set()

    def there(figure: Mapping[str, Any]) -> set[str]:
        if model := figure.get("model"):
            return {setup for name, setup in real if name == model}
        return known & new if figure["draws"] == "new_form" else known

    return [name for name, figure in figures.items() if {*setups_of(figure)} <= there(figure)]
