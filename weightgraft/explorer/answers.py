"""Answers to the page: the question and its answer as plain data, the map as it grows, and the same in full to be taken along."""

import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from torch import Tensor

from weightgraft import Prompt, Scheme, __version__
from weightgraft.engine.cuts import unseen
from weightgraft.engine.portions import together
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.explorer.cube import Cube, cube_of, lit_cells, toggled
from weightgraft.explorer.cuts import in_single_tokens, with_cuts
from weightgraft.explorer.models import MOST_TOKENS, Models
from weightgraft.explorer.questions import Question, check_clicks
from weightgraft.explorer.recipe import python_lines
from weightgraft.explorer.spelling import spelled
from weightgraft.inspection import document
from weightgraft.inspection.measure import ROWS, row_names
from weightgraft.inspection.picture import draw_inspection, scale_of
from weightgraft.inspection.question import LAST, read_schemes
from weightgraft.inspection.tokens import visible
from weightgraft.loading.models import one_line_errors
from weightgraft.style import DIVERGING, RC


@dataclass(frozen=True)
class Asked:
    """A question in tokens. cube: of the scheme behind all clicks; pure: its notation in single tokens only. What a scheme cuts of
    attention is in its notation and not in the grid: clicks leave it as it is."""

    question: Question
    prompt: Prompt
    scheme: Scheme
    cube: Cube
    pure: str


def about(models: Models) -> dict[str, Any]:
    """What the page must know of the models before anything is asked."""
    anatomy = models.grafted.anatomy
    return {
        "version": __version__,
        "recipient": str(models.recipient),
        "donors": {name: str(folder) for name, folder in models.donors.items()},
        "family": anatomy.family,
        "dtype": models.dtype,
        "device": str(models.device),
        "rows": list(row_names(anatomy.n_layers)),
        "components": list(anatomy.components),
        "chat": models.chat,
        "most_tokens": MOST_TOKENS,
        # Of the diverging map, from its low end to its high one.
        "diverging": [to_hex(DIVERGING(share)) for share in np.linspace(0, 1, 21)],
    }


def read_asked(models: Models, question: Question) -> Asked:
    """The question in tokens, with the scheme that its clicks lead to.

    Raises:
        UserError: what cannot be encoded, read or clicked.
    """
    donors, anatomy = list(models.donors), models.grafted.anatomy
    owners = {RECIPIENT: 0} | {name: number for number, name in enumerate(donors, start=1)}
    prompt = models.prompt_with(question.texts, question.spans)
    n_tokens = len(prompt.tokens)
    scheme = _read_scheme(question.scheme, donors, question.spans, n_tokens)
    with one_line_errors():
        cube = cube_of(scheme, prompt.positions, n_tokens, owners, anatomy)
        unseen(scheme, prompt, anatomy.n_layers)  # refuses a cut of nothing
    check_clicks(question.clicks, n_tokens, row_names(anatomy.n_layers), anatomy.components, donors)
    for click in question.clicks:
        cube = toggled(cube, click.tokens, click.rows, click.components, owners[click.donor], anatomy)
    if question.clicks:
        sets = {name: prompt.positions[name] for name in (*question.spans, LAST)}
        text = with_cuts(spelled(cube, sets, donors, anatomy), scheme.cuts)
        scheme = _read_scheme(text, donors, sets, n_tokens)
    cuts = [in_single_tokens(cut, prompt) for cut in scheme.cuts]
    return Asked(question, prompt, scheme, cube, with_cuts(spelled(cube, {}, donors, anatomy), cuts))


def _read_scheme(text: str, donors: list[str], sets: Collection[str], n_tokens: int) -> Scheme:
    found = read_schemes([text], donors, sets, n_tokens)  # PRE and SFT first
    return next(scheme for scheme in found if scheme.name == text)


def answer(models: Models, question: Question) -> dict[str, Any]:
    """What the page shows at once: the scheme, its cells, and PRE, the graft and SFT side by side. The same data as
    `weightgraft inspect --json`, and more."""
    asked = read_asked(models, question)
    texts = question.texts
    known = models.encoded(texts)
    pre, sft = models.references(texts)
    columns = [models.scored(texts, pure) for pure in ("PRE", "SFT", asked.pure)]
    named = [Scheme("PRE"), Scheme("SFT"), asked.scheme]
    rows = document.scheme_rows(
        named, together([scores for scores, _ in columns]), [top for _, top in columns], models.words
    )
    entries = document.token_entries(
        replace(asked.prompt, target=known.prompt.target), [*question.spans, LAST], models.words
    )
    for token in (
        *entries["tokens"],
        *entries["target_tokens"],
        *(best for row in rows for best in row["top"]),
    ):
        token["shown"] = visible(token["text"])
    donors = list(models.donors)
    return {
        "recipient": str(models.recipient),
        "donors": {name: str(folder) for name, folder in models.donors.items()},
        "dtype": models.dtype,
        "device": str(models.device),
        "prompt": known.text,
        "target": known.target,
        "foil": texts.foil,
        **entries,
        "warning": document.warning(pre, sft),
        "notes": list(known.notes),
        "scheme": asked.scheme.name,
        "schemes": rows,
        "cells": list(lit_cells(asked.cube, donors, models.grafted.anatomy)),
        "python": python_lines(models, asked.question, asked.prompt, asked.scheme, known),
    }


def map_lines(models: Models, question: Question) -> Iterator[dict[str, Any]]:
    """The map of single cells of the first donor as it grows: `from`, the number of the first value; `values`, recovered fractions
    or, where these would mean nothing, changes of log-probability in nats; `limit`, of the colours for all values so far.

    The order is that of measure.map_question: cells row by row, whole tokens, whole rows."""
    asked = read_asked(models, replace(question, clicks=()))
    texts, donor = question.texts, next(iter(models.donors))
    pre, sft = models.references(texts)
    unit = "nats" if document.warning(pre, sft) else "fraction"
    n_cells = len(row_names(models.grafted.anatomy.n_layers)) * len(asked.prompt.tokens)
    seen, done = np.full(n_cells, np.nan), 0
    for start, found, total in models.map_portions(texts, donor):
        values = _drawn(found, pre, sft, unit)
        for number, value in enumerate(values, start=start):
            if number < n_cells and value is not None:
                seen[number] = value
        done += len(values)
        scale = scale_of(seen.reshape(-1, len(asked.prompt.tokens)), unit)
        yield {
            "from": start,
            "values": values,
            "done": done,
            "total": total,
            "unit": unit,
            "limit": float(scale.vmax or 1),
        }


def _drawn(found: Tensor, pre: float, sft: float, unit: str) -> list[float | None]:
    if unit == "nats":
        return [document.finite(value - pre) for value in found.tolist()]
    return [document.recovered(value, pre, sft) for value in found.tolist()]


def whole(models: Models, question: Question) -> dict[str, Any]:
    """The answer, with the map where it has been computed: what is taken along as JSON."""
    found = answer(models, question)
    texts, donor = question.texts, next(iter(models.donors))
    if not models.has_map(texts, donor):
        return found
    cells = models.cell_map(texts, donor)
    return found | {"map": document.map_entry(cells, donor, *models.references(texts))}


def picture(models: Models, question: Question) -> bytes:
    """The map of single cells as PNG, as `weightgraft inspect` draws it, with the grafted cells framed."""
    models.cell_map(question.texts, next(iter(models.donors)))
    with matplotlib.rc_context(RC):
        figure = draw_inspection(whole(models, question))
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


assert set(ROWS) == {"embed", "readout"}  # the rows of the grid that are no layers (cube.py)
