"""Trace a number of a figure: figure -> summary rows -> per-fact rows -> models, facts and settings, each with its hash.

    python -m stages.commands.trace --figure figure2
    python -m stages.commands.trace --model tiny-gpt2 --setup fmra --experiment positions --prompt headline
        --scheme FE+LT --metric recovered_logprob

No stage of the pipeline; it only reads: results/summary, runs/graft where it is there, dvc.lock and params.yaml.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.analysis.provenance import (
    CODE,
    SETTINGS,
    digest,
    file_md5,
    producer,
    read_lock,
    recorded,
    state,
    upstream,
)
from stages.analysis.summary import summarize
from stages.analysis.tables import read_scores
from stages.frame.settings import read_settings
from stages.plotting.needs import DRAWN_FROM, setups_of
from stages.study.faults import choices
from stages.study.items import summary_items
from stages.study.params import load_section
from weightgraft.errors import UserError, run_main

SUMMARIES, TABLES = Path("results/summary"), Path("runs/graft")
CHOSEN = (
    "prompt",
    "scheme",
    "metric",
    "experiment",
    "template_split",
)  # columns that pick a row of a summary
SHOWN = [
    "fact_id",
    "template",
    "scheme",
    "draw",
    "target_rank",
    "target_logprob",
    "target_logit",
    "foil_logit",
]
FIRST = 3  # facts whose rows are shown
LONGEST = 160  # characters of a setting that are shown
DIGITS = 1e-5  # a summary has six digits


def read_summary(path: Path) -> pd.DataFrame:
    if path.is_file():
        return pd.read_csv(path)
    there = sorted(f"{file.parent.name}/{file.stem}" for file in SUMMARIES.glob("*/*.csv"))
    raise UserError(f"{path}: no such summary; {choices(f'{path.parent.name}/{path.stem}', there)}")


def chosen_rows(summary: pd.DataFrame, wanted: Mapping[str, str | None]) -> pd.DataFrame:
    """The rows with these values, column by column.

    Raises:
        UserError: none has such a value; names the valid ones.
    """
    rows = summary
    for column, value in wanted.items():
        if value is None:
            continue
        if value not in set(rows[column]):
            raise UserError(f"{column} is {value!r}; {choices(value, rows[column].unique())}")
        rows = rows[rows[column] == value]
    return rows


def only_row(rows: pd.DataFrame) -> pd.Series:
    """The one row; UserError that names the flag to add if there are several."""
    for column, flag in (("experiment", "--experiment"), ("template_split", "--split")):
        if rows[column].nunique() > 1:
            raise UserError(f"{column} is one of {', '.join(rows[column].unique())}: choose with {flag}")
    return rows.iloc[0]


def number(row: pd.Series) -> str:
    return f"{row['estimate']:.6g} [{row['low']:.6g}, {row['high']:.6g}], n = {row['n']}"


def recomputed(scores: pd.DataFrame, row: pd.Series) -> pd.Series:
    """The summary's row once more, from the per-fact rows."""
    return (
        summarize(scores, **load_section("summarize"))
        .query("scheme == @row.scheme and metric == @row.metric")
        .iloc[0]
    )


def per_fact_lines(path: Path, row: pd.Series) -> list[str]:
    """The per-fact rows behind a summary's row, and whether they still give it."""
    if not path.is_file():
        return []
    scores = read_scores(path)
    for column in ("experiment", "prompt", "template_split", "direction"):
        scores = scores[scores[column] == row[column]]
    scores = scores[scores["scheme"].isin(["PRE", "SFT", row["scheme"]])]
    own = scores[scores["scheme"] == row["scheme"]]
    again = recomputed(scores, row)
    ends = ["estimate", "low", "high"]
    same = np.allclose(
        again[ends].astype(float), row[ends].astype(float), rtol=DIGITS, atol=DIGITS, equal_nan=True
    )
    verdict = "the same" if same else "NOT THE SAME: run dvc repro"
    shown = own[own["fact_id"].isin(own["fact_id"].unique()[:FIRST])][SHOWN]
    return [
        f"  {len(own)} rows of {row['scheme']} on {own['fact_id'].nunique()} facts, and those of PRE and SFT; the first facts:",
        *("  " + line for line in shown.to_string(index=False).splitlines()),
        f"  recomputed from them: {number(again)}: {verdict}",
    ]


def stage_lines(lock: Mapping[str, Mapping], path: Path) -> list[str]:
    """Every stage behind a file: what it read and wrote, a hash of its code, and its settings with their values."""
    lines = []
    for name in upstream(lock, path.as_posix()):
        stage = lock[name]
        code = {file: md5 for file, md5 in stage["deps"].items() if file.startswith(CODE)}
        lines.append(f"{name}: code {digest(code)}")
        lines += [f"  wrote  {out}  md5 {md5}" for out, md5 in stage["outs"].items()]
        for dep, md5 in stage["deps"].items():
            if dep in code:
                continue
            found = recorded(lock, dep)
            changed = found is not None and found[0] == dep and found[1] != md5
            since = (
                f", BUT {producer(lock, dep)} has since written {found[1]}: run dvc repro"
                if changed and found
                else ""
            )
            lines.append(f"  read   {dep}  md5 {md5}{since}")
            if dep.startswith(SETTINGS):
                lines += setting_lines(Path(dep), md5)
    return lines


def setting_lines(path: Path, md5: str) -> list[str]:
    """The values in an item's file of settings, if it is the one that the item was made with."""
    if not path.is_file():
        return ["    (not here: dvc repro check_params makes it)"]
    if file_md5(path) != md5:
        return ["    (another one is here: params.yaml has changed; run dvc repro)"]
    return [f"    {key} = {shortened(value)}" for key, value in read_settings(path).items()]


def shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... (md5 {digest(value)})"


def trace_number(model: str, seed: int, setup: str, wanted: Mapping[str, str | None]) -> list[str]:
    """The lines that trace one number of a summary."""
    run = f"{model}-{seed}"
    summary, table = SUMMARIES / run / f"{setup}.csv", TABLES / run / f"{setup}.parquet"
    row = only_row(chosen_rows(read_summary(summary), wanted))
    lock = read_lock(Path("dvc.lock"))
    described = ", ".join(f"{column} {row[column]}" for column in (*CHOSEN, "dataset"))
    return [
        f"summary   {summary}  {state(lock, summary)}",
        f"  {described}:",
        f"  {number(row)}",
        f"per fact  {table}  {state(lock, table)}",
        *per_fact_lines(table, row),
        "made by, the last first:",
        *("  " + line for line in stage_lines(lock, summary)),
    ]


def trace_figure(name: str) -> list[str]:
    """The lines that say which rows of which summaries a figure draws."""
    figures = load_section("render_figures.figures")
    if name not in figures:
        raise UserError(f"figure is {name!r}; {choices(name, figures)}")
    figure = figures[name]
    lock = read_lock(Path("dvc.lock"))
    experiments, setups = DRAWN_FROM[figure["draws"]], setups_of(figure)
    found = recorded(lock, "figures")
    drawn = f"folder's md5 {found[1] if found else None}"
    lines = [f"figure    figures/{name}.png and .svg ({drawn}): {json.dumps(figure)}"]
    for model, seed, setup in summary_items(load_section("study")):
        if setup not in setups:
            continue
        path = SUMMARIES / f"{model}-{seed}" / f"{setup}.csv"
        lines.append(f"summary   {path}  {state(lock, path)}")
        rows = read_summary(path)
        rows = rows[rows["experiment"].isin(experiments)]
        if "metric" in figure:
            rows = rows[rows["metric"] == figure["metric"]]
        for (experiment, prompt), group in rows.groupby(["experiment", "prompt"], sort=False):
            schemes = ", ".join(group["scheme"].unique()[:16]) + (
                ", ..." if group["scheme"].nunique() > 16 else ""
            )
            lines.append(f"  {experiment}, {prompt}: {len(group)} rows: {schemes}")
    if len(lines) > 1:
        lines.append(
            "one of these numbers: python -m stages.commands.trace --model M --setup S --experiment E --prompt P --scheme X "
            "--metric Y"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figure", help="an entry of render_figures.figures in params.yaml")
    parser.add_argument("--model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setup")
    parser.add_argument("--prompt")
    parser.add_argument("--scheme")
    parser.add_argument("--metric")
    parser.add_argument("--experiment", help="needed where several have the scheme")
    parser.add_argument("--split", help="seen or held_out: needed for paraphrases")
    arguments = parser.parse_args()
    if arguments.figure:
        lines = trace_figure(arguments.figure)
    else:
        for name in ("model", "setup", "prompt", "scheme", "metric"):
            if getattr(arguments, name) is None:
                raise UserError(f"--{name} is missing; or name a figure with --figure")
        wanted = {column: getattr(arguments, column, None) for column in CHOSEN} | {
            "template_split": arguments.split
        }
        lines = trace_number(arguments.model, arguments.seed, arguments.setup, wanted)
    print("\n".join(lines))


if __name__ == "__main__":
    run_main(main)
