"""Whether every figure of params.yaml can be drawn, asked before any work and without matplotlib."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.facts.sheets import text_of
from stages.plotting.needs import DRAWN_FROM, MAPS, VARIANTS, WITHOUT_METRIC, drawn_figures, setups_of
from stages.study.faults import choices
from stages.study.schema import FigureSettings, Params
from weightgraft.engine.schemes import parse_scheme
from weightgraft.errors import UserError

POSITION_SETS = ("FE", "LT", "M", "R")


def check_figures(params: Params, published: Path) -> None:
    """What the figures show is evaluated, and what they are coloured by and compared with exists.

    `published`: the file with the paper's position-grafting values.

    Raises:
        UserError: the first fault, in one line.
    """
    section = params.render_figures
    for name, figure in section.figures.items():
        check_figure(f"render_figures.figures.{name}", figure, params)
    study = params.study.model_dump()
    if not drawn_figures({name: figure.model_dump() for name, figure in section.figures.items()}, study):
        listed = ", ".join([*params.study.recipes, *params.study.own, *params.study.setups])
        raise UserError(
            f"study: no figure of render_figures.figures can be drawn from its recipes and setups: {listed}"
        )
    if "ab" not in params.graft.directions:
        raise UserError(f"graft.directions is {params.graft.directions}: the figures show ab")
    _check_declared("render_figures.counterparts", section.counterparts, params.models)
    rows = list(csv.DictReader(text_of(published).splitlines()))
    if not all(row.get("model") for row in rows):
        raise UserError(f"{published}: a row has no model; it is the paper's values, model by model")
    big = dict.fromkeys(row["model"] for row in rows)
    _check_declared("render_figures.counterparts", section.counterparts.values(), big)
    for notation in section.colours:
        try:
            scheme = parse_scheme(notation, donor="sft")
        except ValueError as error:
            raise UserError(f"render_figures.colours: {error}") from error
        _check_declared(f"render_figures.colours: {notation!r}", sorted(scheme.position_sets), POSITION_SETS)


def check_figure(key: str, figure: FigureSettings, params: Params) -> None:
    """Its setups are declared and have the experiments, prompts and metric that its drawing shows."""
    setups, draws, metric = _setups(key, figure.setup), figure.draws, figure.metric
    _check_declared(f"{key}.setup", setups, params.setups)
    if len(set(setups)) < len(setups):
        raise UserError(f"{key}.setup is {setups}: each setup once")
    if metric is None and draws not in WITHOUT_METRIC:
        raise UserError(f"missing key '{key}.metric': draws {draws} shows one")
    if metric is not None and draws in WITHOUT_METRIC:
        raise UserError(f"{key}.metric is {metric!r}: draws {draws} takes none")
    if figure.model is not None:
        if draws not in MAPS:
            raise UserError(
                f"{key}.model is {figure.model!r}: only pages of one model take it, draws {' and '.join(MAPS)}"
            )
        sourced = [name for name, model in params.models.items() if model.source]
        _check_declared(f"{key}.model, a model with a source", [figure.model], sourced)
    if draws == "setups" and not 2 <= len(setups) <= VARIANTS:
        raise UserError(f"{key}.setup is {setups}: draws setups sets 2 to {VARIANTS} of them side by side")
    needed = DRAWN_FROM[draws]
    for setup in setups:
        if not {*needed} & {*params.setups[setup].experiments}:
            wanted = ", ".join(needed) or "none: it needs no data"
            raise UserError(
                f"{key}.setup: {setup!r} has none of the experiments that draws {draws} shows; these are {wanted}"
            )
    for experiment, prompts in needed.items():
        sources = [name for name in setups if experiment in params.setups[name].experiments]
        if len(sources) != 1 and draws != "setups":
            raise UserError(
                f"{key}.setup is {setups}: draws {draws} needs one setup with experiment {experiment!r}; "
                f"valid: {_having(experiment, params)}"
            )
        for source in sources:
            left_out = params.setups[source].leave_out
            asked = [name for name in params.experiments[experiment].prompts if name not in left_out]
            _check_declared(f"{key}: prompts of {experiment} in setup {source}", prompts, asked)
        if metric is not None and experiment in params.summarize.maps:
            _check_declared(f"{key}.metric: {experiment}", [metric], params.summarize.maps[experiment])


def _setups(key: str, setup: Any) -> list[str]:
    """One name or a list of names, or nothing."""
    names = [setup] if isinstance(setup, str) else setup or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{key}.setup is {setup!r}: a setup's name or a list of names")
    return setups_of({"setup": names})


def _having(experiment: str, params: Params) -> str:
    names = [name for name, setup in params.setups.items() if experiment in setup.experiments]
    return ", ".join(names) or "none declared"


def _check_declared(key: str, names: Iterable[str], declared: Iterable[str]) -> None:
    for name in names:
        if name not in declared:
            raise UserError(f"{key}: {name!r} is not declared; {choices(name, declared)}")
