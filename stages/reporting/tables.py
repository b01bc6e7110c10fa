"""The report's tables as plain data: verdicts by claim and model, and estimates by model and scheme."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from stages.analysis.claims import Claim
from stages.analysis.metrics import SECOND
from stages.analysis.verdicts import ALL, FAILS, HOLDS, LEFT_OUT, NOT_SHOWN, UNDECIDED, VERDICTS, cross_table
from stages.plotting.results import published_of
from stages.reporting.phrases import METRIC_WORDS, estimate, labels, number

POSITION_SCHEMES = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
COMPONENTS = ("ATTN+O+FFN", "ATTN+FFN", "ATTN+O", "O+FFN", "FFN", "O", "O+FFN-UP", "O+FFN-DOWN")
RANGES = {"second_half": "second half of the layers", "last_quarter": "last quarter", "all": "all layers"}
MARKDOWN_NOTE = (
    "A cell: the verdict, on log-probability and logits; how many of its parts hold, how many fail by themselves, how many there "
    "are; the estimate and 95 % interval of the first part that decides it, if any could be judged. Over runs, the "
    "interval is that of the mean over runs, "
    "and the brackets say in how many runs the claim by itself holds, in how many it fails, and how many runs there are. Then the "
    "verdict on top-5 accuracy, and, where the paper has the same comparison on the same prompt, both on top-5 accuracy: this "
    "model and the paper's big one that is built most like it. An empty cell: not measured."
)
SIGNS = {
    HOLDS: "✓",
    FAILS: "✗",
    UNDECIDED: "?",
    NOT_SHOWN: "∅",
    LEFT_OUT: "-",
}  # beside the word: told apart without colour


def filled(value: Any, metric: str = "") -> str:
    """A number or a word as it is shown; empty where there is none."""
    if pd.isna(value):
        return ""
    return value if isinstance(value, str) else number(value, metric)


def cell(row: Mapping[Hashable, Any]) -> dict[str, str]:
    """What a verdict's cell says, in words: the verdict with its sign, the estimate with its interval, what it is of."""
    metric = filled(row["metric"])
    return {
        "sign": SIGNS[row["verdict"]],
        "estimate": ""
        if pd.isna(row["estimate"])
        else estimate(row["estimate"], row["low"], row["high"], metric),
        "measure": METRIC_WORDS.get(metric, metric),
        "n": "" if pd.isna(row["n"]) else str(int(row["n"])),
        **{name: filled(row[name]) for name in ("label", "verdict", "prompt", "comparison", "published")},
    }


def speaking(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Without the parts that are left out, which decide nothing, where other parts of the claim's verdict speak."""
    left_out = verdicts["verdict"] == LEFT_OUT
    verdict = [verdicts["claim"], verdicts["model"], verdicts["seed"], verdicts["metric"].isin(SECOND)]
    others = (~left_out & (verdicts["prompt"] != ALL)).groupby(verdict).transform("any")
    return verdicts[~(left_out & others)]


def whole_cells(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The claims' verdicts, each with the numbers of the part that decided it, and how many parts there are and hold.
    Where none of these parts speaks, none decided, and there are no numbers.

    The paper published top-5 accuracies only: its value of the same comparison and prompt stands beside ours by that metric
    (columns published, top5), whatever metric decided.
    """
    if verdicts.empty:  # the study has no claim's setups: facts of one's own alone
        return verdicts
    # It picks single values out of hundreds of small groups, which is slow on columns of many types.
    whole = cross_table(speaking(verdicts).astype(object))
    whole.loc[whole["parts"] == 0, ["part", "prompt", "metric", "n", "estimate", "low", "high"]] = np.nan
    keys = ["claim", "model", "seed", "comparison", "prompt"]
    known = verdicts.dropna(subset="published").drop_duplicates(keys)
    whole = whole.drop(columns=["comparison", "published"]).rename(columns={"part": "comparison"})
    known = known[[*keys, "published", "estimate"]].rename(columns={"estimate": "top5"})
    return whole.merge(known, on=keys, how="left")


def verdict_table(verdicts: pd.DataFrame, claims: Mapping[str, Claim]) -> dict[str, Any]:
    """Claims by models: {models, rows: [{claim, text, comparison, cells by model, parts}]}.

    verdicts: of single runs, or over runs (replication.named). A model without a claim has no cell for it; a claim without any
    verdict still has its row.
    """
    verdicts = verdicts.assign(
        label=labels(verdicts),
        threshold=verdicts["threshold"].map(lambda value: "" if pd.isna(value) else f"{value:g}"),
    )
    whole = whole_cells(verdicts)
    whole["label"] = labels(whole)
    parts = verdicts[verdicts["prompt"] != ALL]
    return {
        "models": list(dict.fromkeys(verdicts["label"])),
        "rows": [
            {
                "claim": name,
                "text": claim.text.replace("*", ""),  # emphasis
                "comparison": claim.comparison,
                "cells": {
                    row["label"]: cell(row)
                    | {name: str(row[name]) for name in ("parts", "held", "failed")}
                    | {name: filled(row[name]) for name in ("top5", "top5_verdict")}
                    | {"in_runs": None}
                    for row in whole[whole["claim"] == name].to_dict("records")
                },
                "parts": [
                    cell(row)
                    | {"setup": row["setup"], "threshold": row["threshold"], "nested": nested(row)}
                    | {"runs": "" if pd.isna(runs := row.get("runs", np.nan)) else str(int(runs))}
                    for row in parts[parts["claim"] == name].to_dict("records")
                ],
            }
            for name, claim in claims.items()
        ],
    }


def nested(row: Mapping[Hashable, Any]) -> str:
    """The nested bootstrap's interval beside that over runs; empty for a single run."""
    low, high = (row.get(f"nested_{end}", np.nan) for end in ("low", "high"))
    return "" if pd.isna(low) else f"[{number(low)}, {number(high)}]"


def of_labels(table: Mapping[str, Any], labels: Collection[str]) -> dict[str, Any]:
    """A verdict table with some of its columns alone, in its own order."""
    rows = [
        {
            **row,
            "cells": {label: cell for label, cell in row["cells"].items() if label in labels},
            "parts": [part for part in row["parts"] if part["label"] in labels],
        }
        for row in table["rows"]
    ]
    return {**table, "models": [label for label in table["models"] if label in labels], "rows": rows}


def counts(table: Mapping[str, Any], key: str = "verdict") -> dict[str, int]:
    """How many cells have each verdict. key: verdict, or top5_verdict."""
    found = [cell[key] for row in table["rows"] for cell in row["cells"].values()]
    return {verdict: found.count(verdict) for verdict in VERDICTS}


def counted(counts: Mapping[str, int]) -> str:
    """12 verdicts: 9 holds, 2 fails, 1 undecided."""
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    return f"{sum(counts.values())} verdicts: {told}"


def markdown(table: Mapping[str, Any]) -> str:
    """A verdict table in Markdown, with how many verdicts there are."""
    lines = [
        f"{counted(counts(table))}. On top-5 accuracy, {counted(counts(table, 'top5_verdict'))}.",
        "",
        f"| claim | {' | '.join(table['models'])} |",
        f"| --- |{' --- |' * len(table['models'])}",
    ]
    for row in table["rows"]:
        cells = []
        for model in table["models"]:
            found = row["cells"].get(model)
            cells.append(markdown_cell(found) if found else "")
        text = " ".join(row["text"].split()).replace("|", "\\|")
        lines.append(f"| {row['claim']}: {text} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def verdict_tables(lead: Mapping[str, Any], single: Mapping[str, Any]) -> str:
    """The verdicts that lead, then those of single runs of the same models: what results/verdicts.md and docs/claims.md hold."""
    told = [markdown(lead)]
    if single["models"]:
        told += [
            "The same of the study's own run alone, whose figures and tables are shown:\n",
            markdown(single),
        ]
    return "\n".join([*told, MARKDOWN_NOTE, ""])


def markdown_cell(found: Mapping[str, Any]) -> str:
    single = found["in_runs"]
    runs = f"({single['held']}/{single['failed']}/{single['runs']} runs) " if single else ""
    told = f"**{found['verdict']}** {runs}{found['held']}/{found['failed']}/{found['parts']} {found['estimate']}".strip()
    second = " ".join(
        [
            *([found["top5_verdict"]] if found["top5_verdict"] else []),
            *([f"{found['top5']}, paper {found['published']}"] if found["published"] else []),
        ]
    )
    return f"{told}; top-5 {second}" if second else told


def scheme_table(
    summaries: pd.DataFrame,
    published: pd.DataFrame,
    counterparts: Mapping[str, str],
    *,
    setup: str,
    experiment: str,
    prompts: Sequence[str],
    schemes: Mapping[str, str],
    metric: str = "top5_accuracy",
) -> list[dict[str, Any]]:
    """Rows of a table of estimates: {prompt, model, n, cells: [{estimate, interval, published}]}, a column a scheme.

    schemes: column -> scheme in the summaries; the paper's value is looked up under the column. A row is made of what was
    measured: a model without the experiment has none, a scheme that it lacks is an empty cell.
    """
    rows = summaries[
        (summaries["setup"] == setup)
        & (summaries["experiment"] == experiment)
        & (summaries["metric"] == metric)
        & (summaries["direction"] == "ab")
        & summaries["scheme"].isin(schemes.values())
    ]
    rows = rows.assign(label=labels(rows))
    table = []
    for prompt in prompts:
        of_prompt = rows[rows["prompt"] == prompt]
        for label, found in of_prompt.groupby("label", sort=False):
            by_scheme = found.drop_duplicates("scheme").set_index("scheme")
            big = counterparts.get(str(found["model"].iloc[0]), "")
            dataset = str(found["dataset"].iloc[0])
            values = published_of(published, dataset=dataset, model=big, prompt=prompt, metric=metric)
            cells = []
            for column, scheme in schemes.items():
                if scheme not in by_scheme.index:
                    cells.append({"estimate": "", "interval": "", "published": ""})
                    continue
                at = by_scheme.loc[scheme]
                cells.append(
                    {
                        "estimate": number(at["estimate"], metric),
                        "interval": f"[{number(at['low'], metric)}, {number(at['high'], metric)}]",
                        "published": number(values[column], metric) if column in values else "",
                    }
                )
            sizes = sorted({int(n) for n in found["n"]})
            table.append(
                {"prompt": prompt, "model": label, "n": " to ".join(map(str, sizes)), "cells": cells}
            )
    return table
