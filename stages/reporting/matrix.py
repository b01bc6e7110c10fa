"""The verdicts as a matrix of signs: claims by models, the paper's claims first, by question; and the numbers behind each sign."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.analysis.claims import Claim
from stages.reporting.replication import model_of

# The letter of the paper's own claims; all others are of this study.
PAPERS = "C"
OWN = "Claims of our own: controls, and other forms of the paper's claims"
FURTHER = "Further questions"


def anchor(claim: str, label: str) -> str:
    """The id of the numbers of a claim in a model."""
    return f"{claim}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', label)}"


def questions_of(claims: Mapping[str, Claim], questions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """claim -> the question that it answers: its own; else that of the claim it is another form of; else that of its letter."""
    told = {name: str(entry["question"]) for entry in questions for name in entry["claims"]}

    def of(name: str) -> str:
        if name in told:
            return told[name]
        if (root := claims[name].beside) is not None and root in claims:
            return of(root)
        return told.get(name[0], FURTHER)

    return {name: of(name) for name in claims}


def matrix(
    table: Mapping[str, Any],
    claims: Mapping[str, Claim],
    questions: Sequence[Mapping[str, Any]],
    real: Iterable[str] = (),
) -> dict[str, Any]:
    """{models: [{label, real}], blocks: [{title, papers, groups: [{question, rows}]}]}.

    table: tables.verdict_table. real: the really pretrained models, which stand first. A row is one of the table's with
    `beside`, the claim that it is another form of, and in each cell `anchor`. Blocks and groups without a row are left out.
    """
    real = {*real}
    asked = questions_of(claims, questions)
    order = [*dict.fromkeys([str(entry["question"]) for entry in questions] + [FURTHER])]
    rows = [
        {
            **row,
            "beside": claims[row["claim"]].beside,
            "cells": {
                label: cell | {"anchor": anchor(row["claim"], label)} for label, cell in row["cells"].items()
            },
        }
        for row in table["rows"]
    ]
    blocks = []
    for title, papers in (("The paper's claims", True), (OWN, False)):
        groups = []
        for question in order:
            found = [
                row
                for row in rows
                if asked[row["claim"]] == question and (row["claim"][0] == PAPERS) == papers
            ]
            if found:
                groups.append({"question": question, "rows": found})
        if groups:
            blocks.append({"title": title, "papers": papers, "groups": groups})
    models = [{"label": label, "real": model_of(label) in real} for label in table["models"]]
    return {"models": models, "blocks": blocks}


def numbers(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a click on a sign opens: {claim, text, comparison, models: [{label, anchor, cell, parts}]} of every judged claim."""
    return [
        {
            **{name: row[name] for name in ("claim", "text", "comparison")},
            "models": [
                {
                    "label": label,
                    "anchor": anchor(row["claim"], label),
                    "cell": row["cells"][label],
                    "parts": [part for part in row["parts"] if part["label"] == label],
                }
                for label in table["models"]
                if label in row["cells"]
            ],
        }
        for row in table["rows"]
        if row["cells"]
    ]
