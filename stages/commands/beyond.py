"""make beyond: what needs more trainings than the study has, in copies of the repository (.beyond/), with the cache shared: one for
the models that are trained from nothing, and one for each really pretrained one, with what params.yaml's `real` says of it. As make
repro does, it leaves the really pretrained ones out unless they are named: they take hours.

frozen_tables: finetuned with embedding and unembedding as the base has them. trajectory: grafted at every tenth of the updates.
texts: few sentence forms a fact, or many. articles: texts without a template, and short ones. What a killed run finished is not
done again. The results go to results/beyond.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from stages.analysis.claims import read_claims
from stages.analysis.over_runs import judge_over_runs, summarize_points
from stages.analysis.tables import write_csv
from stages.commands.beyond_run import EXPERIMENT, RUNS, SETUP
from stages.commands.quick import NOTHING_MORE, environment_of, make_copy, repro, show_again
from stages.plotting.article_runs import articles_figure
from stages.plotting.runs import frozen_figure, points_figure
from stages.plotting.style import save_figure
from stages.study.params import load_section
from weightgraft.errors import UserError, run_main
from weightgraft.progress import bar
from weightgraft.style import RC

STUDIES = ("frozen_tables", "trajectory", "texts", "articles")
OVER_RUNS = STUDIES[1:]
FIGURES: dict[str, Callable[[pd.DataFrame, Mapping[str, str]], Figure]] = {
    "frozen_tables": frozen_figure,
    "trajectory": partial(points_figure, "trajectory"),
    "texts": partial(points_figure, "texts"),
    "articles": articles_figure,
}
TINY = "tiny"  # the copy of the models that are trained from nothing
# Accuracies that a study tells of every scheme.
SHARES = {"articles": ("top5_accuracy", "top50_accuracy")}


def changes_of(
    section: Mapping[str, Any], setups: Mapping[str, Any], models: Sequence[str]
) -> dict[str, Any]:
    """What the copy has in params.yaml: the recipe with frozen tables and, as a part, the one beside it, both asked alike."""
    frozen = section["frozen_tables"]
    asked = setups[frozen["recipe"]]
    return NOTHING_MORE | {
        "study.models": [*models],
        "study.seeds": [frozen["seed"]],
        "study.recipes": [frozen["recipe"]],
        "study.parts": [frozen["beside"]],
        "study.setups": [SETUP],
        "study.new_form.recipes": [],
        f"setups.{SETUP}": {**asked, "donors": {"sft": frozen["beside"]}},
    }


def chosen_models(
    section: Mapping[str, Any],
    studies: Sequence[str],
    only: Sequence[str],
    declared: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[str]]:
    """The models of each study, of those asked for; where none is, those that are trained from nothing.

    declared: `models` of params.yaml.

    Raises:
        UserError: a model is in none of the studies.
    """
    known = {model for study in studies for model in section[study]["models"]}
    for model in only:
        if model not in known:
            raise UserError(
                f"--models: {model!r} is in none of {', '.join(studies)}: {', '.join(sorted(known))}"
            )
    wanted = {*only} or {model for model in known if not declared[model].get("source")}
    return {study: [model for model in section[study]["models"] if model in wanted] for study in studies}


def copies_of(
    models: Mapping[str, Sequence[str]], declared: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, Path]:
    """The copy of each model: one for all that are trained from nothing, one for each really pretrained one.

    declared: `models` of params.yaml.
    """
    needed = dict.fromkeys(itertools.chain.from_iterable(models.values()))
    return {model: folder / (model if declared[model].get("source") else TINY) for model in needed}


def run_all(copies: Mapping[str, Path], runs: Sequence[tuple[str, str, int]], jobs: int) -> None:
    """Make the runs (study, model, seed), `jobs` processes side by side, each in its model's copy and by the copy's code.

    Raises:
        UserError: one of them failed; it has said why. What had begun beside it is waited for, and nothing else is begun.
    """
    failed: list[tuple[str, str, int]] = []

    def work(run: tuple[str, str, int]) -> None:
        if failed:
            return
        study, model, seed = run
        command = [sys.executable, "-m", "stages.commands.beyond_run", "--study", study]
        command += ["--model", model, "--seed", str(seed)]
        copy = copies[model]
        if subprocess.run(command, cwd=copy, env=environment_of(copy)).returncode:
            failed.append(run)
        shown.update()

    with bar("beyond", len(runs), "runs") as shown, ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, runs))
    if failed:
        raise UserError(
            f"the run of {' '.join(map(str, failed[0]))} failed; what had finished is kept: run again"
        )


def frozen_table(
    copies: Mapping[str, Path],
    section: Mapping[str, Any],
    models: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Summaries of the recipe with frozen tables and of the one beside it; column `recipe`."""
    tables = []
    for model, (recipe, setup) in itertools.product(
        models, ((section["beside"], SETUP), (section["recipe"], section["recipe"]))
    ):
        scores = pd.read_parquet(copies[model] / f"runs/graft/{model}-{section['seed']}/{setup}.parquet")
        scores = scores[scores["experiment"] == EXPERIMENT].assign(point=recipe)
        tables.append(summarize_points(scores, resamples=resamples, seed=seed))
    return pd.concat(tables, ignore_index=True).rename(columns={"point": "recipe"})


def points_table(
    copies: Mapping[str, Path],
    study: str,
    runs: Sequence[tuple[str, str, int]],
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Summaries of every point of every run of a study; column `point`."""
    tables = []
    with bar(f"beyond: {study}", len(runs), "summaries") as shown:
        for _, model, run in runs:
            files = sorted((copies[model] / RUNS / study).glob(f"{model}-{run}-*.parquet"))
            scores = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
            tables.append(
                summarize_points(scores, resamples=resamples, seed=seed, shares=SHARES.get(study, ()))
            )
            shown.update()
    return pd.concat(tables, ignore_index=True)


def trainings_table(
    copies: Mapping[str, Path], study: str, runs: Sequence[tuple[str, str, int]]
) -> pd.DataFrame | None:
    """What the runs of a study tell of their trainings: a row each, with column `training`; None if they tell nothing."""
    rows = []
    for _, model, seed in runs:
        start = f"{model}-{seed}-"
        for file in sorted((copies[model] / RUNS / study).glob(f"{start}*.json")):
            named = {"model": model, "seed": seed, "training": file.stem.removeprefix(start)}
            rows.append(named | json.loads(file.read_text(encoding="utf-8")))
    return pd.DataFrame(rows) if rows else None


def with_others(
    table: pd.DataFrame, path: Path, order: Sequence[str], by: Sequence[str] = ("model",)
) -> pd.DataFrame:
    """The table, and of the file what it says of other models: a run of some models leaves the others' results. order: the models,
    of which there may be rows; of one that params.yaml names no more nothing is left. by: what tells a training from others."""
    old = pd.read_csv(path) if path.is_file() else table.iloc[:0]
    told = pd.MultiIndex.from_frame(old[[*by]]).isin(pd.MultiIndex.from_frame(table[[*by]]))
    both = pd.concat([table, old[old["model"].isin(order) & ~told]], ignore_index=True)
    return both.sort_values(
        [*by],
        key=lambda column: column.map(list(order).index) if column.name == "model" else column,
        kind="stable",
        ignore_index=True,
    )


def publish(copies: Mapping[str, Path], models: Mapping[str, Sequence[str]], out: Path) -> None:
    """Summaries of the studies' runs, in the place of what stood there about these models."""
    section = load_section("beyond")
    bootstrap = {key: load_section("summarize")[key] for key in ("resamples", "seed")}
    if of := models.get("frozen_tables"):
        table = frozen_table(copies, section["frozen_tables"], of, **bootstrap)
        table = with_others(table, out / "frozen_tables.csv", section["frozen_tables"]["models"])
        write_csv(table, out / "frozen_tables.csv")
    for study in [study for study in OVER_RUNS if models.get(study)]:
        runs = runs_of(section, models, study)
        if (trainings := trainings_table(copies, study, runs)) is not None:
            path = out / f"{study}_trainings.csv"
            write_csv(with_others(trainings, path, section[study]["models"]), path)
        table = points_table(copies, study, runs, **bootstrap)
        table = with_others(table, out / f"{study}.csv", section[study]["models"])
        write_csv(table, out / f"{study}.csv")


def judge(out: Path) -> None:
    """Verdicts over runs of every study whose table is in the folder: of what is written there, whichever runs were made last."""
    claims = read_claims(Path("data/claims.yaml")).over_runs
    for study in OVER_RUNS:
        if (path := out / f"{study}.csv").is_file():
            write_csv(judge_over_runs(claims, study, pd.read_csv(path)), out / f"{study}_verdicts.csv")


def draw(out: Path) -> list[str]:
    """The figure of every study whose table is in the folder; their names."""
    colours, drawn = load_section("render_figures.colours"), []
    with matplotlib.rc_context(RC):
        for study, figure in FIGURES.items():
            if (path := out / f"{study}.csv").is_file():
                save_figure(figure(pd.read_csv(path), colours), out / study)
                drawn.append(study)
    return drawn


def runs_of(
    section: Mapping[str, Any], models: Mapping[str, Sequence[str]], study: str
) -> list[tuple[str, str, int]]:
    """(study, model, seed): all models' first runs before their second ones, so that what is cut off has some of each."""
    return [(study, model, seed) for seed, model in itertools.product(section[study]["seeds"], models[study])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=STUDIES, help="just these; default: all four")
    parser.add_argument(
        "--models", nargs="*", default=[], help="default: those that are trained from nothing"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side, of one thread each")
    parser.add_argument("--copies", type=Path, default=Path(".beyond"), help="the folder of the copies")
    parser.add_argument("--out", type=Path, default=Path("results/beyond"))
    parser.add_argument(
        "--as-they-are", action="store_true", help="make no run: judge and draw the tables in --out again"
    )
    args = parser.parse_args()
    if args.as_they_are:
        judge(args.out)
        print(f"beyond: {args.out}: figures of {', '.join(draw(args.out)) or 'nothing: no table is there'}")
        return
    section, declared = load_section("beyond"), load_section("models")
    beside = section["frozen_tables"]["beside"]
    if load_section(f"recipes.{beside}.lora"):
        raise UserError(
            f"beyond.frozen_tables.beside is {beside!r}, which trains an adapter; whole models are trained here"
        )
    models = chosen_models(section, args.only or STUDIES, args.models, declared)
    real, setups, source = load_section("real"), load_section("setups"), Path.cwd()
    copies = copies_of(models, declared, args.copies.resolve())
    for copy in dict.fromkeys(copies.values()):
        inside = [model for model, own in copies.items() if own == copy]
        changes = real.get(copy.name, {}) | changes_of(section, setups, inside)
        make_copy(source, copy, changes, cache=source / ".dvc/cache")
        frozen = {*inside} & {*models.get("frozen_tables", ())}
        repro(copy, "graft" if frozen else "pretrain", jobs=args.jobs)
    # The longest first, so that all processes end at about the same time: an article run takes as long as ten of a trajectory.
    order = [study for study in reversed(OVER_RUNS) if study in models]
    runs = [run for study in order for run in runs_of(section, models, study)]
    run_all(copies, runs, args.jobs)
    publish(copies, models, args.out)
    judge(args.out)
    draw(args.out)
    print(
        f"beyond: {args.out}: {', '.join(models)}; {len(runs)} runs; weights and tables are in {args.copies}"
    )
    if args.out == Path("results/beyond"):
        show_again()


if __name__ == "__main__":
    run_main(main)
