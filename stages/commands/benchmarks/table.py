"""The table of a run: one row a measured number. Written as CSV, printed for people."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import pandas as pd

PER_PAIR, TOKENS = "ms per prompt and scheme", "tokens per prompt"
WORKLOAD = ("prompts", "prompt_tokens", "schemes", "layers")


class Row(TypedDict):
    """One measured number.

    size, dtype, device, threads: of what, where (threads of torch on the CPU). experiment: what was varied, or
    `memory`. prompts, prompt_tokens, schemes, layers: the workload. quantity: a procedure, a ratio of two, or
    what else was measured. value, unit: the median. low, high: quartiles, in the same unit. n: how many timings,
    pairs of timings or, for an agreement, pairs of prompt and scheme it is from; 1 for what is exact.
    """

    size: str
    dtype: str
    device: str
    threads: int
    experiment: str
    prompts: int
    prompt_tokens: int
    schemes: int
    layers: int
    quantity: str
    value: float
    unit: str
    low: float
    high: float
    n: int


def write_table(rows: Iterable[Row], path: Path) -> None:
    """Write the rows as CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    pd.DataFrame(list(rows), columns=list(Row.__annotations__)).to_csv(
        part, index=False, float_format="%.6g", lineterminator="\n"
    )
    os.replace(part, path)


def read_tables(folder: Path) -> pd.DataFrame:
    """Every table in a folder as one."""
    return pd.concat([pd.read_csv(path) for path in sorted(folder.glob("*.csv"))], ignore_index=True)


def readable(table: pd.DataFrame) -> str:
    """The table of one run as text: an experiment after the other, with its points below each other where it has
    several. Quartiles are left to the CSV there."""
    first = table.iloc[0]
    lines = [f"{first['size']}, {first['dtype']}, {first['device']}, {first['threads']} CPU threads"]
    for experiment, rows in table.groupby("experiment", sort=False):
        varied = [name for name in WORKLOAD if rows[name].nunique() > 1]
        same = [f"{rows[name].iloc[0]} {name.replace('_', ' ')}" for name in WORKLOAD if name not in varied]
        lines += ["", f"  {experiment} ({', '.join(same)})"]
        if varied:
            lines += [f"    medians; times in {PER_PAIR}; computed {TOKENS}", *_points(rows, varied)]
        else:
            lines += [_line(row) for _, row in rows.iterrows()]
    return "\n".join(lines)


def _line(row: pd.Series) -> str:
    notes = [] if row["low"] == row["high"] else [f"quartiles {row['low']:.4g} to {row['high']:.4g}"]
    notes += [] if row["n"] == 1 else [f"n = {row['n']}"]
    return f"    {row['quantity']:<42}{row['value']:>10.4g} {row['unit']:<26}{', '.join(notes)}".rstrip()


def _points(rows: pd.DataFrame, varied: list[str]) -> list[str]:
    """A line a point, a column a quantity, its unit in the head."""
    heads = rows["quantity"].str.replace("_", " ") + "\n" + rows["unit"].str.split().str[0]
    wide = rows.assign(head=heads).pivot(index=varied, columns="head", values="value")
    table = wide[list(heads.unique())].reset_index()
    columns = [
        [*f"{name.replace('_', ' ')}\n".split("\n")[:2], *map("{:.4g}".format, table[name])]
        for name in table.columns
    ]
    widths = [max(map(len, column)) for column in columns]
    return [
        "    " + "   ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in zip(*columns, strict=True)
    ]
