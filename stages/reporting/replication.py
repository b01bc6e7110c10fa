"""Verdicts over runs of the whole study (make runs), as tables and sentences. Where there are runs these verdicts lead, and those
of a single run come after them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2

from stages.analysis.replication import COLUMNS
from stages.analysis.verdicts import ALL, FAILS, HOLDS, UNDECIDED
from stages.reporting.phrases import listed, number
from weightgraft.errors import UserError

FILES = ("over_runs.csv", "coverage.csv")
CAPTION = (
    "The same study trained again and again. Each small dot is one run, with a world, a pretrained model and a finetuning of its "
    "own, and its interval over facts; the diamond is the mean over runs. All numbers are of log-probability on the question "
    "headline. In the lines that begin with 'at LT', and in the last one, only the second half of the layers is grafted at LT. "
    "Where the dots of a line are further apart than their intervals are wide, training matters more than the choice of facts."
)
SHOWN_REVERSALS = 12  # of the claims that reverse; how many there are is always said


class Runs(NamedTuple):
    """What `make runs` left: verdicts over runs (analysis/replication.py), and how often their intervals cover the truth."""

    over: pd.DataFrame
    coverage: pd.DataFrame


def read_runs(folder: Path) -> Runs | None:
    """None where `make runs` has not been run.

    Raises:
        UserError: a column is missing.
    """
    if not all((folder / name).is_file() for name in FILES):
        return None
    over, coverage = (pd.read_csv(folder / name) for name in FILES)
    for column in COLUMNS:
        if column not in over:
            raise UserError(
                f"{folder / FILES[0]} has no column {column!r}; it has: {', '.join(over.columns)}"
            )
    return Runs(over, coverage)


def run_counts(over: pd.DataFrame) -> dict[str, int]:
    """How many runs each model has."""
    return {
        str(model): int(rows["runs"].max())
        for model, rows in over[over["prompt"] == ALL].groupby("model", sort=False)
    }


def named(over: pd.DataFrame) -> pd.DataFrame:
    """The same with the model called by its runs: tiny-gpt2, 8 runs."""
    names = {model: f"{model}, {many} runs" for model, many in run_counts(over).items()}
    return over.assign(model=over["model"].map(names))


def model_of(label: str) -> str:
    """The model that a column of the verdict table is about: of tiny-gpt2 seed 1, and of tiny-gpt2, 8 runs."""
    return label.partition(", ")[0].partition(" seed ")[0]


def leading(verdicts: pd.DataFrame, runs: Runs | None) -> pd.DataFrame:
    """The verdicts that lead, models by their plain names: over runs where a model has runs, else those of its single run."""
    if runs is None:
        return verdicts
    own = verdicts[~verdicts["model"].isin(run_counts(runs.over))]
    return pd.concat([runs.over.assign(seed=0), own], ignore_index=True)


def standing(over: pd.DataFrame) -> dict[str, Any]:
    """How the claims' verdicts stand in single runs: {total, same: how many are alike in all runs, other: how many of these are
    another over runs, reversed: those that hold in one run and fail in another, as (claim, model, held, failed, runs)}."""
    whole = over[over["prompt"] == ALL]
    other = whole["runs"] - whole["held"] - whole["failed"]
    alike = np.maximum(np.maximum(whole["held"], whole["failed"]), other) == whole["runs"]
    alone = np.select(
        [whole["held"] == whole["runs"], whole["failed"] == whole["runs"]], [HOLDS, FAILS], UNDECIDED
    )
    decided = whole["verdict"].where(whole["verdict"].isin([HOLDS, FAILS]), UNDECIDED)
    turned = whole[(whole["held"] > 0) & (whole["failed"] > 0)]
    return {
        "total": len(whole),
        "same": int(alike.sum()),
        "other": int((alike & (alone != decided)).sum()),
        "reversed": list(
            turned[["claim", "model", "held", "failed", "runs"]].itertuples(index=False, name=None)
        ),
    }


def many_runs(over: pd.DataFrame) -> str:
    """3 runs each of tiny-gpt2 and tiny-gemma; 8 runs of tiny-gpt2 and 3 of tiny-llama."""
    models: dict[int, list[str]] = {}
    for model, many in run_counts(over).items():
        models.setdefault(many, []).append(model)
    if len(models) == 1:
        (many, of), *_ = models.items()
        return f"{many} runs {'each ' * (len(of) > 1)}of {listed(of)}"
    most, *fewer = sorted(models, reverse=True)
    return listed(
        [f"{most} runs of {listed(models[most])}", *(f"{many} of {listed(models[many])}" for many in fewer)]
    )


def standing_sentences(runs: Runs) -> list[str]:
    """How many verdicts are alike in all runs, which reverse, how far runs are apart, and how sure their intervals are."""
    found = standing(runs.over)
    turned = found["reversed"]
    shown = ", ".join(
        f"{claim} in {model} (holds in {held}, fails in {failed} of {many} runs)"
        for claim, model, held, failed, many in turned[:SHOWN_REVERSALS]
    )
    more = f", and {len(turned) - SHOWN_REVERSALS} more" if len(turned) > SHOWN_REVERSALS else ""
    said = [
        f"Of {found['total']} verdicts, a claim in a model each, {found['same']} are alike in all runs taken one by one; in "
        f"{found['other']} of these the verdict over runs is another, since the mean over runs has an interval of its own, or "
        f"since too few runs speak on one of the questions. {len(turned)} "
        f"reverse: they hold in one run and fail in another{f': {shown}{more}' if turned else ''}."
    ]
    spread = runs.over["spread"].dropna()
    if len(spread):
        low, middle, high = np.quantile(spread, [0.25, 0.5, 0.75])
        many = runs.over.loc[spread.index, "runs"].to_numpy() - 1
        chance = float(np.median(np.sqrt(chi2.median(many) / many)))
        said.append(
            f"From run to run the numbers behind the verdicts deviate by {number(middle)} standard errors over facts in the median "
            f"(half of them by {number(low)} to {number(high)}). By their facts alone it would be {number(chance)}: "
            "an interval over facts alone says too little."
        )
    return said


def runs_figure(folder: Path, runs: Runs, picture: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The figure of `make runs`, as the page has figures. picture: a file as it stands in the page."""
    said = standing_sentences(runs)
    return {
        "name": "runs",
        "title": 'Figure "runs"',
        "caption": CAPTION,
        "sentences": said,
        "alt": f"{CAPTION} {said[0]}",
        **picture(folder / "runs.png"),
    }


def coverage_rows(coverage: pd.DataFrame) -> list[dict[str, str]]:
    """{runs, spread, t, nested}: shares of simulated studies whose 95 % interval covers the truth."""
    return [
        {
            "runs": str(int(row["runs"])),
            "spread": f"{row['spread']:g}",
            "t": f"{row['t_interval']:.3f}",
            "nested": f"{row['nested_bootstrap']:.3f}",
        }
        for row in coverage.to_dict("records")
    ]


def in_runs(table: dict[str, Any], over: pd.DataFrame) -> None:
    """Put into the table's cells over runs how the claim stands in single runs, as held, failed, runs. over: named()."""
    whole = over[over["prompt"] == ALL].set_index(["claim", "model"])
    for row in table["rows"]:
        for label, cell in row["cells"].items():
            if (row["claim"], label) in whole.index:
                at = whole.loc[(row["claim"], label)]
                cell["in_runs"] = {name: int(at[name]) for name in ("held", "failed", "runs")}


def leading_labels(table: Mapping[str, Any], runs: Runs | None) -> Sequence[str]:
    """The columns that lead: all but the single runs of models that have several."""
    several = run_counts(runs.over) if runs else {}
    return [label for label in table["models"] if ", " in label or model_of(label) not in several]
