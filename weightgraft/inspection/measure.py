"""What schemes make of the target, and what every single (token, layer) cell of a donor does by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightgraft import GraftedModel, Prompt, Scheme, parse_scheme
from weightgraft.engine.portions import portions, together
from weightgraft.engine.scores import Scores
from weightgraft.progress import bar

TOP = 3
PATIENCE = 2.0  # seconds without a progress bar
CELL = "CELL"  # the position set that a map's prompts have: one token
ROWS = {"embed": "embed@{at}", "readout": "final_norm+unembed@{at}"}  # what belongs to no layer


@dataclass(frozen=True)
class CellMap:
    """joint_logprob of the target under single grafts onto the recipient.

    rows: embed, the layers from 0, readout (final norm and unembedding). cells: one row at one token. tokens: all rows at
    one token. layers: one row at all tokens.
    """

    rows: tuple[str, ...]
    cells: Float[Tensor, "row token"]
    tokens: Float[Tensor, " token"]
    layers: Float[Tensor, " row"]


def row_names(n_layers: int) -> tuple[str, ...]:
    return "embed", *(str(layer) for layer in range(n_layers)), "readout"


def row_scheme(row: str, at: str, donor: str) -> Scheme:
    """The scheme that grafts one row of the map at some positions."""
    return parse_scheme(ROWS.get(row, f"{{at}}[{row}]").format(at=at), donor=donor)


def score_map(grafted: GraftedModel, prompt: Prompt, donor: str) -> CellMap:
    """Every cell of the map. The prompt is asked once for every token, with that token as its position set, so one call
    scores all cells; where a prompt would have too many nodes, some rows at a time."""
    rows = row_names(grafted.anatomy.n_layers)
    asked = [
        Prompt(tokens=prompt.tokens, positions={CELL: (token,)}, target=prompt.target)
        for token in range(len(prompt.tokens))
    ]
    schemes = [*(row_scheme(row, CELL, donor) for row in rows), parse_scheme(CELL, donor=donor)]
    found = []
    with bar("map", len(asked) * len(schemes), "cells", patience=PATIENCE) as shown:
        # The first token's prompt has the most nodes: all others share the tokens before theirs.
        for some, _ in portions(grafted, schemes, asked[0]):

            def progress(done: int, _: int, start: int = shown.n, each: int = len(some)) -> None:
                shown.update(start + done * each - shown.n)

            found.append(grafted.score(asked, some, progress=progress))
    at_tokens = together(found).joint_logprob.T
    everywhere = grafted.score([prompt], [row_scheme(row, "all", donor) for row in rows]).joint_logprob[0]
    return CellMap(rows, cells=at_tokens[:-1], tokens=at_tokens[-1], layers=everywhere)


def score_schemes(
    grafted: GraftedModel, prompt: Prompt, schemes: Sequence[Scheme]
) -> tuple[Scores, list[list[tuple[int, float]]]]:
    """(scores of one prompt, for each scheme its TOP most likely tokens with their probabilities)."""
    scores = grafted.score([prompt], schemes)
    best = torch.topk(grafted.logits([prompt], schemes)[0].softmax(dim=-1), TOP)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return scores, [list(zip(tokens, shares, strict=True)) for tokens, shares in pairs]
