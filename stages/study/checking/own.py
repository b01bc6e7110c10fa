"""Whether recipes, setups and experiments fit facts of one's own, asked before any work."""

from stages.facts.own import OwnFacts
from stages.study.schema import Params
from weightgraft.errors import UserError


def check_own(params: Params, own: OwnFacts) -> None:
    """Recipes and setups on facts of one's own are in study.own, all others are not, and the sentences tell such facts in the
    directions that a recipe trains on: dvc.yaml hands these facts to the items of study.own alone.
    """
    study = params.study
    listed = dict.fromkeys(
        [*study.recipes, *study.parts, *study.setups, *study.new_form.recipes, *study.new_form.setups]
    )
    for name in (*listed, *study.own):
        for key, section in (("recipes", params.recipes), ("setups", params.setups)):
            if name not in section or (section[name].dataset == "own") == (name in study.own):
                continue
            place = "study.own is for dataset 'own' alone" if name in study.own else "list it in study.own"
            raise UserError(f"{key}.{name}.dataset is {section[name].dataset!r}: {place}")
    for name in study.own:
        wanted = params.recipes[name].directions
        if not own.directions & {*wanted}:
            raise UserError(
                f"recipes.{name}.directions is {wanted}: the sentences of {own.folder}/training.yaml are of "
                f"{', '.join(sorted(own.directions))}"
            )


def with_own_prompts(params: Params, own: OwnFacts) -> Params:
    """The params with `own`, as the prompts of an experiment, written out."""
    named = [prompt.name for prompt in own.prompts]
    experiments = {
        name: experiment.model_copy(
            update={key: named for key in ("prompts", "exact_match") if getattr(experiment, key) == "own"}
        )
        for name, experiment in params.experiments.items()
    }
    return params.model_copy(update={"experiments": experiments})
