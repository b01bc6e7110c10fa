"""What the report says first: the answer in sentences and a small table, the really pretrained models before the tiny ones."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from stages.analysis.metrics import FLAT_GUESS, GUESSED
from stages.reporting.phrases import NotMeasuredError, labels, number
from stages.reporting.words import Found, ranged

SHOWN = 0.005  # what is less is 0.00, or below PRE
SCHEMES = ("FE+LT", "(FE+LT)^C", "FE", "LT")
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def answer(found: Found, again: bool = False) -> str:
    """The main result in a few sentences, shorter where it is told again; "" where it was not measured."""
    try:
        both, rest, name, last = (found.values(scheme) for scheme in SCHEMES)
    except NotMeasuredError:
        return ""
    try:
        guess = ranged(found.values(FLAT_GUESS, metric=GUESSED))
    except NotMeasuredError:
        guess = ""
    elsewhere = "nothing" if rest.max() < SHOWN else f"at most {number(rest.max())}"
    if again:
        return (
            f"the same two places bring back {ranged(both)}, all others {elsewhere}, the name alone "
            f"{ranged(name)}, the last token alone {ranged(last)}{f', and the guess {guess}' if guess else ''}."
        )
    return (
        "finetuned weights at two places of the question, the tokens of the first actor's name and the last token, together "
        f"bring back {ranged(both)} of what finetuning added to the answer's log-probability. Finetuned weights everywhere else "
        f"bring back {elsewhere}. The name alone brings back {ranged(name)}, the last token alone {ranged(last)}. "
        f"{f'A guess that knows no fact, only which answers there are, would bring back {guess}. ' if guess else ''}"
        "Where there are two numbers, they are the least and the most over models and over two wordings of the question."
    )


def tiny_models(models: Sequence[str]) -> str:
    """the four tiny models; tiny-gpt2."""
    many = NUMBERS[len(models) - 2] if 2 <= len(models) <= len(NUMBERS) + 1 else str(len(models))
    return f"the {many} tiny models" if len(models) > 1 else models[0]


def at_a_glance(
    summaries: pd.DataFrame, real: Collection[str], prompt: str = "headline"
) -> list[dict[str, Any]]:
    """A row a model, in the order of the summaries: {model, real, n, cells: [{estimate, interval}]}, a cell a scheme of SCHEMES,
    and last the guess among the answers, without numbers where none was summarized."""
    rows = summaries[
        (summaries["setup"] == "fmra")
        & (summaries["experiment"] == "positions")
        & summaries["metric"].isin(["recovered_logprob", GUESSED])
        & (summaries["prompt"] == prompt)
        & (summaries["direction"] == "ab")
    ]
    rows = rows.assign(label=labels(rows))
    table = []
    for label, found in rows.groupby("label", sort=False):
        by_scheme = found.drop_duplicates("scheme").set_index("scheme")
        if not {*SCHEMES} <= {*by_scheme.index}:
            continue
        at = by_scheme.reindex([*SCHEMES, FLAT_GUESS])
        cells = [
            {"estimate": number(row.estimate), "interval": f"[{number(row.low)}, {number(row.high)}]"}
            if row.estimate == row.estimate
            else {"estimate": "", "interval": ""}
            for row in at.itertuples()
        ]
        model = str(found["model"].iloc[0])
        table.append({"model": label, "real": model in real, "n": int(at["n"].iloc[0]), "cells": cells})
    return table
