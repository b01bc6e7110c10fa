"""Checks of params.yaml's `beyond`: what make beyond trains is declared, and its recipes are what they are compared as."""

from stages.study.faults import choices
from stages.study.schema import Params
from weightgraft.errors import UserError

# How many places there are, by the architecture's own key; each model that is trained here states one. A base of beyond.articles
# has as many or more.
PLACES = ("n_positions", "max_position_embeddings")


def check_beyond(params: Params) -> None:
    """Models and recipes exist; each run is there once; one recipe freezes its tables, the one beside none. Where a study
    needs a base or texts of its own, its models are trained from nothing.

    Raises:
        UserError: the first fault, in one line that names the key.
    """
    frozen, trajectory, texts = params.beyond.frozen_tables, params.beyond.trajectory, params.beyond.texts
    articles = params.beyond.articles
    trained = [name for name, model in params.models.items() if model.pretrain]
    for name, section, may in (
        ("frozen_tables", frozen, [*params.models]), ("trajectory", trajectory, [*params.models]),
        ("texts", texts, trained), ("articles", articles, trained),
    ):  # fmt: skip
        for model in section.models:
            _known(f"beyond.{name}.models", model, may)
        _known(f"beyond.{name}.recipe", section.recipe, [*params.recipes])
    _known("beyond.frozen_tables.beside", frozen.beside, [*params.recipes])
    for model in params.beyond.runs:
        _known("beyond.runs", model, trained)
    _known("setups, of beyond.frozen_tables.recipe", frozen.recipe, [*params.setups])
    if not params.recipes[frozen.recipe].frozen or params.recipes[frozen.beside].frozen:
        raise UserError(
            f"beyond.frozen_tables: recipe {frozen.recipe!r} must have `frozen`, and beside {frozen.beside!r} must not"
        )
    for key, recipe in (
        ("trajectory", trajectory.recipe), ("texts", texts.recipe), ("articles", articles.recipe),
    ):  # fmt: skip
        # All are trained from the settings that the copy has for frozen_tables.beside.
        if recipe != frozen.beside:
            raise UserError(
                f"beyond.{key}.recipe is {recipe!r}; it must be that of frozen_tables.beside, {frozen.beside!r}"
            )
    for key, numbers in (
        ("trajectory.seeds", trajectory.seeds), ("texts.seeds", texts.seeds), ("texts.forms", texts.forms),
        ("articles.seeds", articles.seeds),
    ):  # fmt: skip
        if len({*numbers}) < len(numbers):
            raise UserError(f"beyond.{key} is {numbers}: one is there twice")
    for name in articles.models:
        for place in PLACES:
            own = params.models[name].architecture.get(place)
            # What else it may be is told by its own check.
            if isinstance(own, int) and articles.positions < own:
                raise UserError(
                    f"beyond.articles.positions is {articles.positions}; models.{name}.architecture.{place} is {own} already"
                )


def _known(key: str, name: str, declared: list[str]) -> None:
    if name not in declared:
        raise UserError(f"{key}: {name!r} is not declared, or not trained here; {choices(name, declared)}")
