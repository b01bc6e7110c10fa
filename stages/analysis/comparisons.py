"""What a claim compares: r(scheme) - times * r(than), a rank correlation or a largest difference, with its interval over facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from stages.analysis.claims import Part
from stages.analysis.intervals import ROUNDING, excludes_zero, statistic_interval, widen_constant
from stages.analysis.metrics import METRICS
from stages.analysis.tables import VALUES, check_scores, values_per_fact
from weightgraft.errors import UserError

Samples = Float[np.ndarray, "schemes samples"]
Others = Float[np.ndarray, "others samples"]
Numbers = Float[np.ndarray, "samples"]
KNOWN = 0.9
DIGITS = 12  # means that agree to so many are equal: the rest is the order of a sum


@dataclass(frozen=True)
class Cell:
    """The facts of one prompt under all schemes of an experiment: values[value][scheme] has one entry a fact."""

    dataset: str
    facts: tuple
    values: Mapping[str, pd.DataFrame]  # rows: schemes; columns: facts

    def rows(self, value: str, schemes: Sequence[str]) -> Float[np.ndarray, "schemes facts"]:
        """Values of the schemes, then of PRE and of SFT."""
        table = self.values[value]
        return table.to_numpy()[table.index.get_indexer([*schemes, "PRE", "SFT"])]


Cells = Mapping[tuple[str, str, str], Mapping[str, Cell]]  # (setup, experiment, prompt) -> split -> cell


def cells_of(tables: Mapping[str, pd.DataFrame]) -> Cells:
    """Per-fact tables by setup -> cells, templates and draws averaged, direction A->B.

    Raises:
        UserError: a table is incomplete (see check_scores); the message names the setup.
    """
    cells: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for setup, table in tables.items():
        try:
            check_scores(table)
        except UserError as error:
            raise UserError(f"setup {setup}: {error}") from error
        per_fact = values_per_fact(table[table["direction"] == "ab"])
        for (experiment, prompt, split), rows in per_fact.groupby(
            ["experiment", "prompt", "template_split"], sort=False
        ):
            wide = {value: rows.pivot(index="scheme", columns="fact_id", values=value) for value in VALUES}
            cell = Cell(rows["dataset"].iloc[0], tuple(wide["rank"].columns), wide)
            cells.setdefault((setup, experiment, prompt), {})[split] = cell
    return cells


def cell_of(cells: Cells, part: Part, setup: str, prompt: str) -> Cell:
    """The cell that a part reads from a setup.

    Raises:
        UserError: the experiment, prompt, split or a scheme is not in the tables.
    """
    splits = cells.get((setup, part.experiment, prompt))
    if splits is None:
        have = sorted({key[2] for key in cells if key[:2] == (setup, part.experiment)})
        missing = f"prompt {prompt!r} was not asked; valid: {', '.join(have)}" if have else "was not run"
        raise UserError(f"experiment {part.experiment} of setup {setup}: {missing}")
    split: str | None = part.split or (next(iter(splits)) if len(splits) == 1 else None)
    if split is None or split not in splits:
        raise UserError(
            f"prompt {prompt} of setup {setup}: split is {split!r}; valid: {', '.join(sorted(splits))}"
        )
    have = splits[split].values["rank"].index
    for scheme in part.schemes_of(setup):
        if scheme not in have:
            raise UserError(
                f"experiment {part.experiment} of setup {setup}, prompt {prompt}: no rows of scheme {scheme!r}"
            )
    return splits[split]


def sides_of(cells: Cells, part: Part, prompt: str) -> tuple[Cell, Cell]:
    """The cells of the two sides; one cell twice where a part stays within a setup.

    Raises:
        UserError: as cell_of; or one dataset, but not the same facts.
    """
    left, right = (cell_of(cells, part, setup, prompt) for setup in (part.setups[0], part.setups[-1]))
    if left.dataset == right.dataset and left.facts != right.facts:
        raise UserError(f"setups {' and '.join(part.setups)}: not the same facts of {left.dataset}")
    return left, right


class Evidence(NamedTuple):
    """What a part compares with its threshold, and what can be said of it."""

    estimate: float
    low: float
    high: float
    n: int
    resampled: np.ndarray  # its value in every resample of the facts
    bounds: tuple[float, float] | None = None  # between which it must lie, of shares


def interval_of(
    part: Part, prompt: str, metric: str, cells: Cells, *, resamples: int, seed: int
) -> tuple[float, float, float, int]:
    """(estimate, low, high, n) of what the part compares with its threshold, as evidence_of."""
    return evidence_of(part, prompt, metric, cells, resamples=resamples, seed=seed)[:4]


def evidence_of(part: Part, prompt: str, metric: str, cells: Cells, *, resamples: int, seed: int) -> Evidence:
    """The evidence on what the part compares with its threshold.

    Resampled facts are the same for both sides (paired) where the facts are; those of two datasets are drawn
    independently. -inf, inf where SFT and PRE are not told apart, or the number is not defined in
    every resample. Shares on which all facts agree keep a doubt, as in the summaries (widen_constant).
    Raises UserError as sides_of.
    """
    value, kind = METRICS[metric]
    left, right = sides_of(cells, part, prompt)
    sides = left.rows(value, part.compared), right.rows(value, part.references)
    paired, cut = left.dataset == right.dataset, len(sides[0])
    n = min(len(left.facts), len(right.facts))

    def statistic(*means: Samples) -> Numbers:
        a, b = (means[0][:cut], means[0][cut:]) if paired else means
        return compared(part, kind, a, b)

    bootstrap = {"resamples": resamples, "seed": seed}
    tables = (np.vstack(sides),) if paired else sides
    estimate, low, high, resampled = statistic_interval(statistic, tables, **bootstrap)
    nothing = Evidence(estimate, -np.inf, np.inf, n, resampled)
    if not np.isfinite([estimate, low, high]).all():
        return nothing
    if part.order:
        return Evidence(estimate, low, high, n, resampled)
    apart = sides if left is not right else sides[:1]  # one gap where a part stays within a setup
    for side in apart if kind.startswith("recovered") else ():
        if not excludes_zero(*statistic_interval(_gap, (side,), **bootstrap)[1:3]):
            return nothing
    if "share" not in kind:
        return Evidence(estimate, low, high, n, resampled)
    interval = np.array([estimate]), np.array([low]), np.array([high])
    bounds = _bounds(part, kind, *sides)
    _, (low,), (high,) = widen_constant(interval, *bounds, n)
    return Evidence(estimate, float(low), float(high), n, resampled, bounds)


def knows(part: Part, prompt: str, cells: Cells) -> bool:
    """Whether SFT knows the facts asked so, on both sides: its top-5 accuracy is at least KNOWN. Where it does not, a share of
    what it gained says nothing about where facts are kept."""
    return all(side.values["top5"].loc["SFT"].mean() >= KNOWN for side in sides_of(cells, part, prompt))


def compared(part: Part, kind: str, left: Samples, right: Others) -> Numbers:
    """The compared number from the means of the two sides; the last two rows of each are PRE and SFT."""
    if part.order:
        return rank_correlation(left[:-2], right[:-2])
    if part.each:
        return np.abs(_score(left, kind) - _score(right, kind)).max(axis=0)
    number = _score(left, kind)[0]
    if part.references:
        number = number - part.times * _score(right, kind).max(axis=0)
    return number + 0.0  # no "-0"


def rank_correlation(a: Samples, b: Samples) -> Numbers:
    """Spearman's correlation of two lists of schemes, a column a sample; NaN where all of a list are equal.

    In a resample two schemes that are nearly alike may change places, which lowers the correlation and can never
    raise it above 1: the interval lies lower than one of a smooth number would. That makes "at least" harder.
    """
    ranks = [rankdata(np.round(side, DIGITS), axis=0) for side in (a, b)]
    centred = [side - side.mean(axis=0) for side in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(axis=0) * (centred[1] ** 2).sum(axis=0))
    product = (centred[0] * centred[1]).sum(axis=0)
    return np.divide(product, spread, out=np.full_like(spread, np.nan), where=spread > 0)


def _gap(means: Samples) -> Numbers:
    return means[-1] - means[-2]


def _score(means: Samples, kind: str) -> Others:
    """What is compared of every scheme: its recovered fraction, or its mean; the last two rows are PRE and SFT."""
    if not kind.startswith("recovered"):
        return means[:-2]
    gap = _gap(means)
    gap = np.where(np.abs(gap) > ROUNDING, gap, np.nan)
    return (means[:-2] - means[-2]) / gap


def _bounds(part: Part, kind: str, left: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Between which numbers the comparison must lie, for every share lies between 0 and 1."""
    ends = []
    for side in (left, right):
        pre, sft = side[-2:].mean(axis=1)
        ends.append(
            sorted([-pre / (sft - pre), (1 - pre) / (sft - pre)]) if "recovered" in kind else [0.0, 1.0]
        )
    (low, high), (other_low, other_high) = ends
    if not part.references:
        return low, high
    low, high = low - part.times * other_high, high - part.times * other_low
    return (0.0, max(-low, high)) if part.each else (low, high)
