"""Stage check_params: validate params.yaml whole, before any other stage does work.

Every other stage depends on this one's constant output, so a mistake anywhere stops the run in its first second, and a valid
edit reruns only the stages that read the edited key.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAMLError

from stages.analysis.claims import Claims, Evaluated, check_claims, read_claims
from stages.analysis.metrics import METRICS
from stages.evaluation.checks import check_setups, scheme_names
from stages.facts.templates import PromptTemplate, read_prompt_templates, read_training_forms
from stages.grafting.families import FAMILIES
from stages.grafting.routes import Anatomy
from stages.params import UserError, read_yaml, run_main
from stages.plotting.checks import check_figures
from stages.schema import ARCHITECTURES, DIVISIBLE, Model, Params, choices, parsed

# What dvc.yaml hands to every setup made of several models, beside the base and its early checkpoint.
SETUPS_NEED_RECIPES = ("fmra",)
SETUPS_NEED_PARTS = ("b_to_a", "half_a", "half_b")
# The experiments whose params dvc.yaml's graft stages depend on: of a recipe's setup, and of a setup made of several models.
OF_RECIPES = ("positions", "title", "unembedding", "random_positions", "other_name")
OF_SETUPS = (
    "components", "hybrid", "layer_component", "heads", "position_layer", "patching", "pretraining", "half_known",
)  # fmt: skip


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
        ("study.repeats.models", repeats.models, study.models),
        ("study.repeats.seeds", repeats.seeds, repeats.seeds),
        ("study.repeats.recipes", repeats.recipes if repeats.models else [], study.recipes),
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
        ("study.repeats.seeds and study.seeds", repeats.seeds, study.seeds),
        ("study.new_form.models and study.models", new_form.models, study.models),
    ):
        check_unique(key, [*names, *others])
    for key, section in (("study", study), ("study.new_form", new_form)):
        check_declared(f"setups, of {key}.recipes", section.recipes, params.setups)
        for names, experiments, models in (
            (section.recipes, OF_RECIPES, ()),
            (section.setups, OF_SETUPS, ("early", *SETUPS_NEED_RECIPES, *SETUPS_NEED_PARTS)),
        ):
            for name in names:
                setup, given = params.setups[name], models or (name,)
                check_declared(
                    f"setups.{name}: a model that dvc.yaml does not hand it",
                    [setup.recipient, *setup.donors.values()],
                    ("base", *given),
                )
                check_declared(
                    f"setups.{name}.experiments: not in the params of its stage in dvc.yaml",
                    setup.experiments,
                    experiments,
                )
        if section.models and section.setups:
            check_declared(f"{key}.setups need recipes", SETUPS_NEED_RECIPES, section.recipes)
            check_declared(f"{key}.setups need study.parts", SETUPS_NEED_PARTS, study.parts)
    for name in new_form.models:
        if params.models[name].base_forms != "article":
            raise UserError(
                f"study.new_form.models: {name!r} has base_forms 'all'; in the new-form condition it is 'article'"
            )
    for name in (*study.models, *new_form.models):
        epochs = params.models[name].pretrain.num_train_epochs
        if params.pretrain.early_epoch >= epochs:
            raise UserError(
                f"pretrain.early_epoch is {params.pretrain.early_epoch}; models.{name} is pretrained for {epochs} epochs"
            )


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


def check_maps(params: Params) -> None:
    """The experiments that are summarized as maps exist, by metrics that exist; the tested one is among them."""
    for name, metrics in params.summarize.maps.items():
        check_declared("summarize.maps", [name], params.experiments)
        check_declared(f"summarize.maps.{name}", metrics, METRICS)
        if "recovered_logprob" not in metrics:
            raise UserError(f"summarize.maps.{name} lacks recovered_logprob: p-values stand beside it")


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


def check(values: Any, data: Path) -> Params:
    """Validate everything that params.yaml and the templates say.

    Raises:
        UserError: the first fault, in one line that names the key, the value and the valid choices.
    """
    params = parsed(Params, values)
    check_study(params)
    check_declared("families", params.families, params.models)
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
    study = params.study
    evaluated = dict.fromkeys([*study.models, *study.repeats.models, *study.new_form.models])
    for model in evaluated:
        check_declared("study", [model], params.models)
    check_setups(params, prompts, {model: anatomies[model] for model in evaluated})
    check_maps(params)
    check_figures(params, data / "published/position_grafting.csv")
    claims = read_claims(data / "claims.yaml")
    check_claims(claims, evaluated_for(claims, params, (anatomies[model] for model in evaluated)))
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
