"""The report's tables as plain data: verdicts by claim and model, and estimates by model and scheme."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from stages.analysis.claims import Claim
from stages.analysis.verdicts import ALL, FAILS, HOLDS, LEFT_OUT, NOT_SHOWN, UNDECIDED, VERDICTS, cross_table
from stages.plotting.results import published_of
from stages.reporting.phrases import METRIC_WORDS, estimate, labels, number

POSITION_SCHEMES = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
COMPONENTS = ("ATTN+O+FFN", "ATTN+FFN", "ATTN+O", "O+FFN", "FFN", "O", "O+FFN-UP", "O+FFN-DOWN")
RANGES = {"second_half": "second half of the layers", "last_quarter": "last quarter", "all": "all layers"}
MARKDOWN_NOTE = (
    "A cell: the verdict, on log-probability and logits; how many of its parts hold, how many fail by themselves, how many there "
    "are; the estimate and 95 % interval of the first part that decides it. Then the verdict on top-5 accuracy, and, where the "
    "paper has the same comparison on the same prompt, both on top-5 accuracy: this model and the big one of its family. An empty "
    "cell: not measured."
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


def whole_cells(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The claims' verdicts, each with the numbers of the part that decided it, and how many parts there are and hold.

    The paper published top-5 accuracies only: its value of the same comparison and prompt stands beside ours by that metric
    (columns published, top5), whatever metric decided.
    """
    if verdicts.empty:  # the study has no claim's setups: facts of one's own alone
        return verdicts
    # It picks single values out of hundreds of small groups, which is slow on columns of many types.
    whole = cross_table(verdicts.astype(object))
    keys = ["claim", "model", "seed", "comparison", "prompt"]
    known = verdicts.dropna(subset="published").drop_duplicates(keys)
    whole = whole.drop(columns=["comparison", "published"]).rename(columns={"part": "comparison"})
    known = known[[*keys, "published", "estimate"]].rename(columns={"estimate": "top5"})
    return whole.merge(known, on=keys, how="left")


def verdict_table(verdicts: pd.DataFrame, claims: Mapping[str, Claim]) -> dict[str, Any]:
    """Claims by models: {models, counts: {verdict: number}, rows: [{claim, text, comparison, cells by model, parts}]}.

    A model without a claim has no cell for it; a claim without any verdict still has its row.
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
                    for row in whole[whole["claim"] == name].to_dict("records")
                },
                "parts": [
                    cell(row) | {"setup": row["setup"], "threshold": row["threshold"]}
                    for row in parts[parts["claim"] == name].to_dict("records")
                ],
            }
            for name, claim in claims.items()
        ],
        "counts": {verdict: int((whole["verdict"] == verdict).sum()) for verdict in VERDICTS},
        "top5_counts": {verdict: int((whole["top5_verdict"] == verdict).sum()) for verdict in VERDICTS},
    }


def of_models(table: Mapping[str, Any], verdicts: pd.DataFrame) -> dict[str, Any]:
    """A verdict table with the cells of these verdicts' models alone; its counts stay those of all."""
    models = {*verdicts["model"]}
    labels = [label for label in table["models"] if label.partition(" seed ")[0] in models]
    rows = [
        {**row, "cells": {label: cell for label, cell in row["cells"].items() if label in labels}}
        for row in table["rows"]
    ]
    return {**table, "models": labels, "rows": rows}


def counted(counts: Mapping[str, int]) -> str:
    """12 verdicts: 9 holds, 2 fails, 1 undecided."""
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    return f"{sum(counts.values())} verdicts: {told}"


def markdown(table: Mapping[str, Any]) -> str:
    """The verdict table in Markdown, as results/verdicts.md and docs/claims.md hold it, with how many verdicts there are."""
    lines = [
        f"In this run, {counted(table['counts'])}. On top-5 accuracy, {counted(table['top5_counts'])}.",
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
    lines += ["", MARKDOWN_NOTE]
    return "\n".join(lines) + "\n"


def markdown_cell(found: Mapping[str, str]) -> str:
    told = f"**{found['verdict']}** {found['held']}/{found['failed']}/{found['parts']} {found['estimate']}".strip()
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
