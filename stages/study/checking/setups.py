"""Whether every setup of params.yaml can be evaluated, asked before any work and without torch."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from stages.evaluation.experiments import (
    Subject,
    cases,
    patches,
    random_like,
    random_set,
)
from stages.facts.templates import PromptTemplate, position_sets
from stages.study.checking.schemes import check_schemes
from stages.study.faults import choices
from stages.study.schema import Experiment, MadeDonor, Params, Setup
from weightgraft.engine.notation import UNLAYERED, NotationError, parse_positions, set_names
from weightgraft.engine.routes import Anatomy, resolve
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.errors import UserError

Prompts = Mapping[str, Sequence[PromptTemplate]]


def check_setups(
    params: Params, prompts: Prompts, own_prompts: Prompts, anatomies: Mapping[str, Anatomy]
) -> None:
    """Setups name declared experiments, and these fit: their schemes to the setup's donors, to the position sets of the
    prompts, and to every model. own_prompts: those of facts of one's own, which setups on these ask and no others.

    Raises:
        UserError: the first fault, in one line.
    """
    asked_of = {name: _prompts_for(name, params, prompts, own_prompts) for name in params.experiments}
    for name, experiment in params.experiments.items():
        check_schemes(name, experiment)
        _check_known(f"experiments.{name}.prompts", experiment.prompts, asked_of[name])
        _check_known(f"experiments.{name}.exact_match", experiment.exact_match, experiment.prompts)
    used: dict[str, list[tuple[str, ...]]] = {}
    for name, setup in params.setups.items():
        check_setup(name, setup, params)
        for experiment_name in setup.experiments:
            used.setdefault(experiment_name, []).append((*setup.donors, *setup.made_donors))
    every = tuple(
        dict.fromkeys(
            donor for setup in params.setups.values() for donor in (*setup.donors, *setup.made_donors)
        )
    )
    distinct: dict[Anatomy, str] = {}
    for model, anatomy in anatomies.items():
        distinct.setdefault(anatomy, model)
    for name, experiment in params.experiments.items():
        for donors in dict.fromkeys(used.get(name, [every])):
            check_experiment(name, experiment, donors, params, asked_of[name], distinct)


def _prompts_for(name: str, params: Params, prompts: Prompts, own_prompts: Prompts) -> Prompts:
    """The prompts that an experiment may have: of facts of one's own, if its setups ask these, or if none has it and they fit."""
    by_setup = {key: setup.dataset for key, setup in params.setups.items() if name in setup.experiments}
    own = [key for key, dataset in by_setup.items() if dataset == "own"]
    if own and len(own) < len(by_setup):
        other = next(key for key in by_setup if key not in own)
        raise UserError(
            f"experiments.{name}: setups {own[0]!r}, of dataset 'own', and {other!r}, of {by_setup[other]!r}, "
            "have no prompts in common"
        )
    fitting = not by_setup and {*params.experiments[name].prompts} <= {*own_prompts}
    return own_prompts if own or fitting else prompts


def check_setup(name: str, setup: Setup, params: Params) -> None:
    key = f"setups.{name}"
    _check_known(f"{key}.experiments", setup.experiments, params.experiments)
    _check_known(f"{key}.donors", [*setup.donors], [donor for donor in setup.donors if donor != RECIPIENT])
    for donor, made in setup.made_donors.items():
        _check_made(f"{key}.made_donors.{donor}", donor, made, setup)
    for model in (setup.recipient, *setup.donors.values()):
        _check_known(f"{key}: a model", [model], ["base", "early", *params.recipes])
    _check_known(f"{key}.halves", setup.halves, ["a", "b"])
    prompts = {name: params.experiments[name].prompts for name in setup.experiments}
    _check_known(f"{key}.leave_out", setup.leave_out, list(chain.from_iterable(prompts.values())))
    for experiment in setup.experiments:
        if set(prompts[experiment]) <= set(setup.leave_out):
            raise UserError(f"{key}.leave_out: {setup.leave_out} leaves experiment {experiment!r} no prompt")


def _check_made(key: str, name: str, made: MadeDonor, setup: Setup) -> None:
    """A name of its own, made of a donor of the setup, in one of two ways."""
    if name in (RECIPIENT, *setup.donors):
        raise UserError(f"{key}: {name!r} is a model of the setup already; give it a name of its own")
    _check_known(f"{key}.of", [made.of], setup.donors)
    if (made.strength is None) == (made.like is None):
        raise UserError(f"{key}: give either strength or like")
    if made.like is not None:
        try:
            named = set_names(parse_positions(made.like))
        except NotationError as error:
            raise UserError(f"{key}.like: {error}") from error
        _check_known(f"{key}.like: a position set", sorted(named), ["FE", "LT"])  # every prompt has these


def check_experiment(
    name: str,
    experiment: Experiment,
    donors: Sequence[str],
    params: Params,
    prompts: Prompts,
    models: Mapping[Anatomy, str],
) -> None:
    """Schemes parse and have names of their own, PRE and SFT are among them, every prompt has the position sets they
    name, and every model what they graft."""
    key, values = f"experiments.{name}.schemes", experiment.model_dump()
    owners = {RECIPIENT: 0} | {donor: number for number, donor in enumerate(donors, start=1)}
    for anatomy, model in models.items():
        try:
            evaluated = cases(values, subject_of(anatomy, donors[0], params))
            resolve([case.scheme for case in evaluated], owners, anatomy)
            patched = patches(values, anatomy.n_layers)
            sets = {
                (case.scheme.name, position_set)
                for case in evaluated
                for position_set in case.scheme.position_sets
            } | {
                (patch.name, position_set)
                for patch in patched
                for position_set in set_names(parse_positions(patch.positions))
            }
        except NotationError as error:
            raise UserError(f"{key}: {error}") from error
        except ValueError as error:
            raise UserError(f"{key}: {model}: {error}") from error
        names = [(case.scheme.name, case.draw) for case in evaluated] + [(patch.name, 0) for patch in patched]
        _check_unique(key, [scheme if not draw else f"{scheme}, draw {draw}" for scheme, draw in names])
        _check_position_sets(key, sets, values, params, prompts)
        missing = {"PRE", "SFT"} - {scheme for scheme, _ in names}
        if missing:
            raise UserError(
                f"{key} lacks {' and '.join(sorted(missing))}: recovered fractions are relative to both"
            )


def _check_position_sets(
    key: str, named: Iterable[tuple[str, str]], values: Mapping[str, Any], params: Params, prompts: Prompts
) -> None:
    like = random_like(values)
    drawn = {random_set(name, draw) for name in like for draw in range(1, params.graft.draws + 1)}
    wanted = sorted({*named} | {(f"{name}_random", name) for name in like})
    for template in chain.from_iterable(prompts[prompt] for prompt in values["prompts"]):
        have = position_sets(template.template, template.sets)
        for scheme, position_set in wanted:
            if position_set not in have | drawn:
                written = values["schemes"].get(scheme) if isinstance(values["schemes"], Mapping) else None
                what = (
                    f"{scheme!r}, {written},"
                    if isinstance(written, str) and written != scheme
                    else f"{scheme!r}"
                )
                raise UserError(
                    f"{key}: {what} names position set {position_set!r}, which prompt {template.id!r} does not have; "
                    f"valid: {', '.join(sorted(have))}"
                )


def subject_of(anatomy: Anatomy, donor: str, params: Params) -> Subject:
    """A model as far as params.yaml tells: all matrices count alike, since their sizes are known only when it is loaded."""
    sizes = {slot: 1 for slot in anatomy.trunk if slot[0] not in UNLAYERED and not slot[0].endswith("norm")}
    return Subject(anatomy, donor, sizes, params.graft.draws, params.graft.seed)


def scheme_names(name: str, donor: str, anatomy: Anatomy, params: Params) -> list[str]:
    """The schemes and patches that an experiment evaluates in a model, each once."""
    values = params.experiments[name].model_dump()
    evaluated = cases(values, subject_of(anatomy, donor, params))
    named = [case.scheme.name for case in evaluated] + [
        patch.name for patch in patches(values, anatomy.n_layers)
    ]
    return list(dict.fromkeys(named))


def _check_known(key: str, names: Sequence[str], valid: Iterable[str]) -> None:
    for name in names:
        if name not in valid:
            raise UserError(f"{key}: {name!r} is not valid here; {choices(name, valid)}")
    _check_unique(key, names)


def _check_unique(key: str, names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise UserError(f"{key}: {name!r} is there {names.count(name)} times")
        seen.add(name)
