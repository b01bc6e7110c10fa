"""Stage check_params: validate params.yaml whole, before any other stage does work.

Every other stage depends on this one's constant output, so a mistake anywhere stops the run in its first second, and a valid
edit reruns only the stages that read the edited key.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ruamel.yaml import YAMLError

from stages.facts.templates import PromptTemplate, position_sets, read_prompt_templates, read_training_forms
from stages.grafting.families import FAMILIES
from stages.grafting.routes import Anatomy, resolve
from stages.grafting.schemes import RECIPIENT, Scheme, parse_scheme
from stages.params import UserError, read_yaml, run_main
from stages.schema import ARCHITECTURES, DIVISIBLE, Experiment, Model, Params, choices, parsed

DONORS = {RECIPIENT: 0, "sft": 1}
# What each drawing takes from which experiment.
DRAWN_FROM = {"positions": "positions", "title": "title", "paraphrases": "positions"}


def check_declared(key: str, names: Iterable[Any], declared: Iterable[Any]) -> None:
    for name in names:
        if name not in declared:
            raise UserError(f"{key}: {name!r} is not declared; {choices(name, declared)}")


def check_unique(key: str, names: Iterable[object]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{key}: {name!r} is there {count} times")


def check_architecture(name: str, model: Model) -> Anatomy:
    """Sizes fit together; what of the model can be grafted."""
    key = ("models", name, "architecture")
    values = parsed(ARCHITECTURES[model.family], model.architecture, key).model_dump()
    for whole, part in DIVISIBLE:
        if whole in values and part in values and values[whole] % values[part]:
            raise UserError(
                f"{'.'.join(key)}.{whole} is {values[whole]}: not a multiple of {part}, {values[part]}"
            )
    heads = values.get("n_head") or values["num_attention_heads"]
    width = values.get("head_dim") or values.get("hidden_size", 0) // heads
    if width % 2:
        raise UserError(f"{'.'.join(key)}: heads of {width} numbers: rotary positions need an even width")
    return Anatomy(
        family=model.family,
        components=FAMILIES[model.family].components,
        n_layers=values.get("n_layer") or values["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=values.get("num_key_value_heads", heads),
        head_width=width,
        output_bias=model.family.startswith("gpt"),
    )


def parsed_schemes(key: str, notations: list[str]) -> list[Scheme]:
    try:
        return [parse_scheme(notation, donor="sft") for notation in notations]
    except ValueError as error:
        raise UserError(f"{key}: {error}") from error


def check_experiment(
    name: str,
    experiment: Experiment,
    prompts: Mapping[str, list[PromptTemplate]],
    anatomies: Mapping[str, Anatomy],
) -> None:
    """Prompts exist, schemes parse, every prompt has the position sets they name, and every model what they graft."""
    key = f"graft.experiments.{name}"
    check_declared(f"{key}.prompts", experiment.prompts, prompts)
    check_unique(f"{key}.prompts", experiment.prompts)
    check_unique(f"{key}.schemes", experiment.schemes)
    schemes = parsed_schemes(f"{key}.schemes", experiment.schemes)
    for scheme in schemes:
        for template in chain.from_iterable(prompts[prompt] for prompt in experiment.prompts):
            have = position_sets(template.template)
            for position_set in sorted(scheme.position_sets - have):
                raise UserError(
                    f"{key}.schemes: {scheme.name!r} names position set {position_set!r}, which prompt "
                    f"{template.id!r} does not have; valid: {', '.join(sorted(have))}"
                )
    for model, anatomy in anatomies.items():
        try:
            resolve(schemes, DONORS, anatomy)
        except ValueError as error:
            raise UserError(f"{key}.schemes: {model}: {error}") from error
    missing = {"PRE", "SFT"} - set(experiment.schemes)
    if missing:
        raise UserError(
            f"{key}.schemes lacks {' and '.join(sorted(missing))}: recovered fractions are relative to both"
        )


def check_figures(params: Params, published: Path) -> None:
    """What the figures show is evaluated, and what they are coloured by and compared with exists."""
    section, experiments = params.render_figures, params.graft.experiments
    for name, figure in section.figures.items():
        key = f"render_figures.figures.{name}"
        check_declared(f"{key}.recipe", [figure.recipe], params.recipes)
        source = DRAWN_FROM[figure.draws]
        check_declared(f"{key}.draws: {figure.draws}", [source], experiments)
        if figure.draws == "paraphrases":
            check_declared(
                f"{key}: graft.experiments.{source}.prompts", ["paraphrases"], experiments[source].prompts
            )
    if not {figure.recipe for figure in section.figures.values()} & set(params.study.recipes):
        raise UserError(
            f"study.recipes: no figure of render_figures.figures shows any of {params.study.recipes}"
        )
    if "ab" not in params.graft.directions:
        raise UserError(f"graft.directions is {params.graft.directions}: the figures show ab")
    check_declared("render_figures.counterparts", section.counterparts, params.models)
    with published.open(encoding="utf-8") as file:
        big = {row["model"]: None for row in csv.DictReader(file)}
    check_declared("render_figures.counterparts", section.counterparts.values(), big)
    for scheme in parsed_schemes("render_figures.colours", list(section.colours)):
        check_declared(
            f"render_figures.colours: {scheme.name!r}", sorted(scheme.position_sets), ("FE", "LT", "M", "R")
        )


def check(values: Any, data: Path) -> Params:
    """Validate everything that params.yaml and the templates say.

    Raises:
        UserError: the first fault, in one line that names the key, the value and the valid choices.
    """
    params = parsed(Params, values)
    for key, names, declared in (
        ("study.models", params.study.models, params.models),
        ("study.recipes", params.study.recipes, params.recipes),
        ("study.seeds", params.study.seeds, params.study.seeds),
    ):
        check_declared(key, names, declared)
        check_unique(key, names)
    facts = params.generate_facts
    if facts.facts > facts.base_facts:
        raise UserError(
            f"generate_facts.facts is {facts.facts}; at most generate_facts.base_facts, {facts.base_facts}"
        )
    anatomies = {name: check_architecture(name, model) for name, model in params.models.items()}
    read_training_forms(data / "templates")
    prompts: dict[str, list[PromptTemplate]] = {}
    for template in read_prompt_templates(data / "templates"):
        prompts.setdefault(template.name, []).append(template)
    for name, experiment in params.graft.experiments.items():
        check_experiment(
            name, experiment, prompts, {model: anatomies[model] for model in params.study.models}
        )
    check_figures(params, data / "published/position_grafting.csv")
    return params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with templates/ and published/")
    parser.add_argument(
        "--out", type=Path, help="a file whose content never changes, for the stages that come after"
    )
    args = parser.parse_args()
    try:
        values = read_yaml(args.params)
    except YAMLError as error:
        raise UserError(f"{args.params} is not YAML: {' '.join(str(error).split())}") from error
    params = check(values, args.data)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text("ok\n")
    study = params.study
    print(
        f"check_params: {args.params} is valid: {len(study.models)} models, {len(study.recipes)} recipes, {len(study.seeds)} seeds"
    )


if __name__ == "__main__":
    run_main(main)
