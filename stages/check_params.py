"""Stage check_params: validate params.yaml whole, before any other stage does work, and cut out what each item reads.

Every other stage depends on a file of this one's, so a mistake anywhere stops the run in its first second, and a valid
edit reruns only the items whose own file it changes.
"""

import argparse
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.analysis.claims import Claims, Evaluated, check_claims, read_claims
from stages.analysis.metrics import METRICS
from stages.facts.own import read_own
from stages.facts.sheets import text_of, yaml_of
from stages.facts.templates import PromptTemplate, read_prompt_templates, read_training_forms
from stages.frame.timing import run_stage
from stages.study.checking.architectures import check_architecture, is_stated
from stages.study.checking.beyond import check_beyond
from stages.study.checking.figures import check_figures
from stages.study.checking.films import check_films
from stages.study.checking.own import check_own, with_own_prompts
from stages.study.checking.setups import check_setups, scheme_names
from stages.study.checking.sources import check_kind, check_source
from stages.study.faults import choices, parsed
from stages.study.items import finetune_items
from stages.study.params import with_changes
from stages.study.schema import Params
from stages.study.settings import settings_of, write_settings
from weightgraft.engine.routes import Anatomy
from weightgraft.errors import UserError

# Sections of template files whose sentences have names; the others are lists.
NAMED_FORMS = ("test", "other_name")


def check_declared(key: str, names: Iterable[Any], declared: Iterable[Any]) -> None:
    for name in names:
        if name not in declared:
            raise UserError(f"{key}: {name!r} is not declared; {choices(name, declared)}")


def check_unique(key: str, names: Iterable[object]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{key}: {name!r} is there {count} times")


def check_study(params: Params) -> None:
    """What the study lists is declared, listed once, and has all that its setups are made of."""
    study, repeats, new_form = params.study, params.study.repeats, params.study.new_form
    for key, names, declared in (
        ("study.models", study.models, params.models),
        ("study.seeds", study.seeds, study.seeds),
        ("study.recipes", study.recipes, params.recipes),
        ("study.parts", study.parts, params.recipes),
        ("study.setups", study.setups, params.setups),
        ("study.own", study.own, params.recipes),
        ("study.repeats.models", repeats.models, study.models),
        ("study.repeats.seeds", repeats.seeds, repeats.seeds),
        ("study.repeats.recipes", repeats.recipes if repeats.models else [], study.recipes),
        ("study.repeats.setups", repeats.setups if repeats.models else [], study.setups),
        ("study.new_form.models", new_form.models, params.models),
        ("study.new_form.recipes", new_form.recipes, params.recipes),
        ("study.new_form.setups", new_form.setups, params.setups),
    ):
        check_declared(key, names, declared)
        check_unique(key, names)
    for key, names, others in (
        ("study.parts and study.recipes", study.parts, study.recipes),
        ("study.parts and study.new_form.recipes", study.parts, new_form.recipes),
        ("study.setups and study.recipes", study.setups, study.recipes),
        ("study.own and study.recipes", study.own, study.recipes),
        ("study.own and study.parts", study.own, study.parts),
        ("study.own and study.setups", study.own, study.setups),
        ("study.repeats.seeds and study.seeds", repeats.seeds, study.seeds),
        ("study.new_form.models and study.models", new_form.models, study.models),
    ):
        check_unique(key, [*names, *others])
    if not study.recipes and not study.own:
        raise UserError("study.recipes and study.own are both empty: nothing is finetuned")
    for key, models, grafted, trained in (
        (
            "study",
            study.models,
            [*study.recipes, *study.own, *study.setups],
            [*study.recipes, *study.own, *study.parts],
        ),
        ("study.repeats", repeats.models, [*repeats.recipes, *repeats.setups], repeats.recipes),
        (
            "study.new_form",
            new_form.models,
            [*new_form.recipes, *new_form.setups],
            [*new_form.recipes, *study.parts],
        ),
    ):
        check_declared(f"setups, of {key}.recipes", grafted if models else [], params.setups)
        for name in grafted if models else []:
            setup = params.setups[name]
            check_declared(
                f"setups.{name}: a model that {key} does not finetune",
                [setup.recipient, *setup.donors.values()],
                ("base", "early", *trained),
            )
    for name in new_form.models:
        if params.models[name].base_forms != "article":
            raise UserError(
                f"study.new_form.models: {name!r} has base_forms 'all'; in the new-form condition it is 'article'"
            )
    for name in (*study.models, *new_form.models):
        own, early = params.models[name].pretrain, params.pretrain.early_epoch
        if own and early >= own.num_train_epochs:
            raise UserError(
                f"pretrain.early_epoch is {early}; models.{name} is pretrained for {own.num_train_epochs} epochs"
            )


def listed_models(params: Params) -> list[str]:
    """The models that the study lists, each once."""
    study = params.study
    return list(dict.fromkeys([*study.models, *study.repeats.models, *study.new_form.models]))


def whole_models(params: Params, name: str) -> int:
    """How many models the study finetunes from one with all their weights; an adapter is none."""
    study = params.study
    items = finetune_items(study.model_dump())
    seeds = {recipe: len(study.seeds) for model, recipe in items if model == name}
    for recipe in study.repeats.recipes if name in study.repeats.models else []:
        seeds[recipe] += len(study.repeats.seeds)
    return sum(number for recipe, number in seeds.items() if not params.recipes[recipe].lora)


def check_maps(params: Params) -> None:
    """The experiments that are summarized as maps exist, by metrics that exist; the tested one is among them."""
    for name, metrics in params.summarize.maps.items():
        check_declared("summarize.maps", [name], params.experiments)
        check_declared(f"summarize.maps.{name}", metrics, METRICS)
        if "recovered_logprob" not in metrics:
            raise UserError(f"summarize.maps.{name} lacks recovered_logprob: p-values stand beside it")
    check_declared("summarize.answers", params.summarize.answers, params.experiments)


def check_forms(path: Path) -> None:
    """A template file holds sections of sentences, whose braces are all of {fields}.

    Raises:
        UserError: it does not; names the file and the section.
    """
    values = yaml_of(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: sections of templates are needed; it holds {values!r}")
    for section, forms in values.items():
        if forms is None or not isinstance(forms, dict if section in NAMED_FORMS else list):
            kind = "names with sentences" if section in NAMED_FORMS else "a list of sentences"
            raise UserError(f"{path}: {section} is {forms!r}: {kind} is needed")
        for name, form in forms.items() if isinstance(forms, dict) else enumerate(forms, 1):
            if not isinstance(form, str):
                raise UserError(f"{path}: {section}: {name!r} is {form!r}: a sentence is needed; quote it")
            if braces := re.search(r"[{}]", re.sub(r"\{\w+\}", "", form)):
                raise UserError(f"{path}: {section}: {name!r}: {braces[0]!r} is of no {{field}}: {form!r}")


def check_templates(folder: Path) -> list[PromptTemplate]:
    """The study's prompts, once both template files are what they should be.

    Raises:
        UserError: the first fault, in one line that names the file or the template.
    """
    for name in ("training.yaml", "prompts.yaml"):
        check_forms(folder / name)
    try:
        read_training_forms(folder)
        return read_prompt_templates(folder)
    except UserError as error:
        told = str(error)
        raise UserError(told if str(folder) in told else f"{folder}: {told}") from error


def evaluated_for(claims: Claims, params: Params, anatomies: Iterable[Anatomy]) -> Evaluated:
    """Setup -> experiment -> (prompts, names of the schemes that every model has), of the experiments that claims name."""
    named = {part.experiment for claim in claims.claims for part in claim.parts}
    distinct, found = [*dict.fromkeys(anatomies)], {}
    for experiment in named & {*params.experiments}:
        prompts = params.experiments[experiment].prompts
        schemes = [scheme_names(experiment, "sft", anatomy, params) for anatomy in distinct]
        found[experiment] = (
            prompts,
            [name for name in schemes[0] if all(name in other for other in schemes)],
        )
    asked: dict = {}
    for name, setup in params.setups.items():
        asked[name] = {}
        for experiment in setup.experiments:
            prompts, names = found.get(experiment, ([], []))
            asked[name][experiment] = ([prompt for prompt in prompts if prompt not in setup.leave_out], names)
    return asked


def check_real(values: Any, real: Mapping[str, Mapping[str, Any]], data: Path) -> None:
    """Each study of `make real` is a valid one. Whether its model can be had is asked when it is run."""
    for model, changes in real.items():
        try:
            changed = with_changes(values | {"real": {}}, {"study.models": [model], **changes})
            check(changed, data, reach=False)
        except UserError as error:
            told = str(error)
            at = "." if told.startswith(tuple(changes)) else ": "  # is it about a key that stands there?
            raise UserError(f"real.{model}{at}{told}") from error


def check(values: Any, data: Path, reach: bool = True) -> Params:
    """Validate everything that params.yaml, the templates and the facts of one's own say. Gives the params with the prompts of
    these written out.

    reach: also ask whether the models with a source can be had, and whether there is room for them.

    Raises:
        UserError: the first fault, in one line that names the key, the value and the valid choices.
    """
    params = parsed(Params, values)
    check_study(params)
    own = read_own(Path(params.read_facts.folder))
    check_own(params, own)
    params = with_own_prompts(params, own)
    check_declared("families", params.families, params.models)
    check_beyond(params)
    check_films(params.generate_facts, params.fetch_films, data / "films.csv")
    for name, recipe in params.recipes.items():
        if recipe.lora and recipe.frozen:
            raise UserError(
                f"recipes.{name}: frozen is {recipe.frozen}: an adapter (lora) leaves both as they are"
            )
    for name, model in params.models.items():
        check_kind(name, model)
        check_declared(f"models.{name}.recipes", model.recipes, params.recipes)
    anatomies = {
        name: check_architecture(name, model, Path.cwd())
        for name, model in params.models.items()
        if is_stated(model) or name in listed_models(params)
    }
    prompts: dict[str, list[PromptTemplate]] = {}
    for template in check_templates(data / "templates"):
        prompts.setdefault(template.name, []).append(template)
    evaluated = listed_models(params)
    for name in evaluated if reach else []:
        check_source(name, params.models[name], whole_models(params, name), params.launch, Path.cwd())
    prompts_own = {prompt.name: [prompt] for prompt in own.prompts}
    check_setups(params, prompts, prompts_own, {name: anatomies[name] for name in evaluated})
    check_maps(params)
    check_figures(params, data / "published/position_grafting.csv")
    text_of(data / "claims.yaml")  # is it there, and text?
    claims = read_claims(data / "claims.yaml")
    check_claims(claims, evaluated_for(claims, params, (anatomies[name] for name in evaluated)))
    check_real(values, params.real, data)
    return params


def read_libraries(pyproject: Path) -> tuple[list[str], list[str]]:
    """The pinned libraries: those that shape weights and scores, and those of facts, analysis and figures."""
    try:
        found = tomllib.loads(text_of(pyproject))
        pins = [*found["project"]["dependencies"], *found["project"]["optional-dependencies"]["study"]]
        shaping = set(found["tool"]["study"]["shapes_weights"])
        names = {pin: re.split(r"[=<>~!\[ ]", pin)[0] for pin in pins}
        return [pin for pin in pins if names[pin] in shaping], [
            pin for pin in pins if names[pin] not in shaping
        ]
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{pyproject} is not TOML: {error}") from error
    except KeyError as error:
        raise UserError(f"{pyproject}: missing key {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with templates/, published/ and films.csv"
    )
    parser.add_argument("--pyproject", type=Path, help="pyproject.toml: pinned libraries are settings too")
    parser.add_argument("--out", type=Path, help="folder for the settings of every item")
    args = parser.parse_args()
    params = check(yaml_of(args.params), args.data)
    study = params.study
    recipes = len(study.recipes) + len(study.own)
    counts = f"{len(study.models)} models, {recipes} recipes, {len(study.seeds)} seeds"
    line = f"check_params: {args.params} is valid: {counts}"
    if args.out:
        files = settings_of(params, *read_libraries(args.pyproject))
        write_settings(args.out, files)
        line += f"; {args.out}: settings of {len(files)} items"
    print(line)


if __name__ == "__main__":
    run_stage(main)
