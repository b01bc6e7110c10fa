"""What the runs of make beyond become: summaries, verdicts over runs and figures, in results/beyond."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
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
from stages.plotting.article_runs import articles_figure
from stages.plotting.runs import frozen_figure, points_figure
from stages.plotting.style import save_figure
from stages.study.params import load_section
from weightgraft.progress import bar
from weightgraft.style import RC

OVER_RUNS = ("trajectory", "texts", "articles")
FIGURES: dict[str, Callable[[pd.DataFrame, Mapping[str, str]], Figure]] = {
    "frozen_tables": frozen_figure,
    "trajectory": partial(points_figure, "trajectory"),
    "texts": partial(points_figure, "texts"),
    "articles": articles_figure,
}
# Accuracies that a study tells of every scheme.
SHARES = {"articles": ("top5_accuracy", "top50_accuracy")}


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
