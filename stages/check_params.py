"""Stage check_params: validate params.yaml whole, before any other stage does work.

Every other stage depends on this one's constant output, so a mistake anywhere stops the run in its first second, and a valid
edit reruns only the stages that read the edited key.
"""

import argparse
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from ruamel.yaml import YAMLError

from stages.facts.templates import PromptTemplate, position_sets, read_prompt_templates, read_training_forms
from stages.grafting.schemes import parse_scheme
from stages.params import UserError, read_yaml, run_main
from stages.schema import ARCHITECTURES, DIVISIBLE, Experiment, Model, Params, Section


def choices(value: object, valid: Iterable[str]) -> str:
    """The valid choices, the nearest first."""
    valid = [str(name) for name in valid]
    near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? " if near else "") + f"valid: {', '.join(valid)}"


def section_at(kind: Any, loc: tuple) -> type[Section] | None:
    """The section class at a location inside params, through dicts, lists and optional values."""
    if get_origin(kind) is Annotated:
        return section_at(get_args(kind)[0], loc)
    if get_origin(kind) in (Union, UnionType):
        return next((found for arm in get_args(kind) if (found := section_at(arm, loc))), None)
    if isinstance(kind, type) and issubclass(kind, Section):
        return section_at(kind.model_fields[loc[0]].annotation, loc[1:]) if loc else kind
    if get_origin(kind) in (dict, list) and loc:
        return section_at(get_args(kind)[-1], loc[1:])
    return None


def explain(error: ValidationError, model: type[Section], prefix: tuple = ()) -> str:
    """The first fault in one line: the key, the value and the valid choices."""
    # A misspelt key is two faults, one unknown and one missing: the unknown one says what to mend.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    loc, value = fault["loc"], fault["input"]
    where = ".".join(str(part) for part in prefix + loc if part != "[key]") or "params.yaml"
    if fault["type"] == "extra_forbidden":
        section = section_at(model, loc[:-1])
        return f"unknown key {where!r}; {choices(loc[-1], section.model_fields if section else ())}"
    if fault["type"] == "missing":
        return f"missing key {where!r}"
    if fault["type"] == "literal_error":
        valid = fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"{where} is {value!r}; {choices(value, valid)}"
    return f"{where} is {value!r}: {fault['msg']}"


def parsed(model: type[Section], values: Any, prefix: tuple = ()) -> Any:
    """Validate one section.

    Raises:
        UserError: the first fault, in one line.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, model, prefix)) from error


def check_declared(key: str, names: Iterable[str], declared: Mapping) -> None:
    for name in names:
        if name not in declared:
            raise UserError(f"{key}: {name!r} is not declared; {choices(name, declared)}")


def check_architecture(name: str, model: Model) -> None:
    key = ("models", name, "architecture")
    values = parsed(ARCHITECTURES[model.family], model.architecture, key).model_dump()
    for whole, part in DIVISIBLE:
        if whole in values and part in values and values[whole] % values[part]:
            raise UserError(
                f"{'.'.join(key)}.{whole} is {values[whole]}: not a multiple of {part}, {values[part]}"
            )


def check_experiment(name: str, experiment: Experiment, prompts: Mapping[str, list[PromptTemplate]]) -> None:
    """Prompts exist, schemes parse, and every prompt has every position set that a scheme names."""
    key = f"graft.experiments.{name}"
    check_declared(f"{key}.prompts", experiment.prompts, prompts)
    for notation in experiment.schemes:
        try:
            scheme = parse_scheme(notation, donor="sft")
        except ValueError as error:
            raise UserError(f"{key}.schemes: {error}") from error
        for template in (template for prompt in experiment.prompts for template in prompts[prompt]):
            have = position_sets(template.template)
            for position_set in sorted(scheme.position_sets - have):
                raise UserError(
                    f"{key}.schemes: {notation!r} names position set {position_set!r}, which prompt {template.id!r} "
                    f"does not have; valid: {', '.join(sorted(have))}"
                )
    missing = {"PRE", "SFT"} - set(experiment.schemes)
    if missing:
        raise UserError(
            f"{key}.schemes lacks {' and '.join(sorted(missing))}: recovered fractions are relative to both"
        )


def check(values: Any, templates: Path) -> Params:
    """Validate everything that params.yaml and the templates say.

    Raises:
        UserError: the first fault, in one line that names the key, the value and the valid choices.
    """
    params = parsed(Params, values)
    check_declared("study.models", params.study.models, params.models)
    check_declared("study.recipes", params.study.recipes, params.recipes)
    for name, model in params.models.items():
        check_architecture(name, model)
    read_training_forms(templates)
    prompts: dict[str, list[PromptTemplate]] = {}
    for template in read_prompt_templates(templates):
        prompts.setdefault(template.name, []).append(template)
    for name, experiment in params.graft.experiments.items():
        check_experiment(name, experiment, prompts)
    for name, figure in params.render_figures.figures.items():
        check_declared(f"render_figures.figures.{name}.recipe", [figure.recipe], params.recipes)
    check_declared("render_figures.counterparts", params.render_figures.counterparts, params.models)
    return params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with templates/")
    parser.add_argument(
        "--out", type=Path, help="a file whose content never changes, for the stages that come after"
    )
    args = parser.parse_args()
    try:
        values = read_yaml(args.params)
    except YAMLError as error:
        raise UserError(f"{args.params} is not YAML: {' '.join(str(error).split())}") from error
    params = check(values, args.data / "templates")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text("ok\n")
    study = params.study
    print(
        f"check_params: {args.params} is valid: {len(study.models)} models, {len(study.recipes)} recipes, {len(study.seeds)} seeds"
    )


if __name__ == "__main__":
    run_main(main)
