"""What schemes make of the target, and what every single (token, layer) cell of a donor does by itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightgraft import GraftedModel, Prompt, Scheme, parse_scheme
from weightgraft.engine.portions import portions, together
from weightgraft.engine.scores import Scores
from weightgraft.inspection.question import token_sets
from weightgraft.loading.models import one_line_errors
from weightgraft.progress import bar

TOP = 3
PATIENCE = 2.0  # seconds without a progress bar
FAILED = "torch cannot run these models; if their config.json is not the one that the weights were saved with, copy it again: "
ROWS = {"embed": "embed@{at}", "readout": "final_norm+unembed@{at}"}  # what belongs to no layer


@contextmanager
def running(hint: str = "") -> Iterator[None]:
    """What goes wrong in a forward pass, as one line: what the engine refuses, and what torch itself cannot compute, such as
    rotary settings that a family's own code makes nothing of.

    Raises:
        UserError: either of them.
    """
    with one_line_errors(FAILED, more=(RuntimeError,)), one_line_errors(hint=hint):
        yield


@dataclass(frozen=True)
class CellMap:
    """joint_logprob of the target (natural logarithm, all its tokens) under single grafts of one donor onto the recipient.

    rows: embed, the layers from 0, readout (final norm and unembedding). cells: one row at one token. tokens: all rows at
    one token. layers: one row at all tokens. pre, sft: nothing grafted, and everything. prompt: what was asked.
    """

    rows: tuple[str, ...]
    cells: Float[Tensor, "row token"]
    tokens: Float[Tensor, " token"]
    layers: Float[Tensor, " row"]
    pre: float
    sft: float
    prompt: Prompt

    @property
    def recovered(self) -> Float[Tensor, "row token"]:
        """(cell - PRE) / (SFT - PRE), not clipped. It means nothing where SFT hardly beats PRE: plot_map draws changes there."""
        return (self.cells - self.pre) / (self.sft - self.pre)


def row_names(n_layers: int) -> tuple[str, ...]:
    return "embed", *(str(layer) for layer in range(n_layers)), "readout"


def row_scheme(row: str, at: str, donor: str) -> Scheme:
    """The scheme that grafts one row of the map at some positions."""
    return parse_scheme(ROWS.get(row, f"{{at}}[{row}]").format(at=at), donor=donor)


def map_question(grafted: GraftedModel, prompt: Prompt, donor: str) -> tuple[Prompt, list[Scheme]]:
    """The prompt with tokens as position sets, and the schemes of the map: every cell, row by row; whole tokens; whole rows; PRE
    and SFT. Cells of one prompt share what comes before them in tokens and in layers.

    Raises ValueError for a prompt without a target.
    """
    if not prompt.target:
        raise ValueError("a map needs a target: give the prompt the text that should follow (encode_prompt)")
    rows, sets = row_names(grafted.anatomy.n_layers), token_sets(len(prompt.tokens))
    schemes = [row_scheme(row, name, donor) for row in rows for name in sets]
    schemes += [parse_scheme(name, donor=donor) for name in sets]
    schemes += [row_scheme(row, "all", donor) for row in rows]
    schemes += [parse_scheme("PRE"), parse_scheme("SFT", donor=donor)]
    return Prompt(tokens=prompt.tokens, positions=sets, target=prompt.target), schemes


def map_values(grafted: GraftedModel, prompt: Prompt, values: Float[Tensor, " scheme"]) -> CellMap:
    """The map from the log-probabilities of map_question's schemes."""
    rows, n_tokens = row_names(grafted.anatomy.n_layers), len(prompt.tokens)
    cells, tokens, layers, whole = values.split([len(rows) * n_tokens, n_tokens, len(rows), 2])
    pre, sft = whole.tolist()
    return CellMap(rows, cells.reshape(len(rows), n_tokens), tokens, layers, pre, sft, prompt)


def score_map(grafted: GraftedModel, prompt: Prompt, donor: str) -> CellMap:
    """How much every single cell (one layer at one token) of a donor does by itself; weightgraft.plot_map draws it.

    Tokens are position sets of one prompt, so that cells share what comes before them in tokens and in layers; where that would
    be too many rows, some cells at a time. What takes longer than two seconds shows its progress.
    Raises ValueError for a donor that there is not and for a prompt without a target.
    """
    asked, schemes = map_question(grafted, prompt, donor)
    found = []
    with bar("map", len(schemes), "cells", patience=PATIENCE) as shown:
        for some in portions(grafted, schemes, asked):
            found.append(grafted.score([asked], some, allow_nan=True))
            shown.update(len(some))
    return map_values(grafted, prompt, together(found).joint_logprob[0])


def score_schemes(
    grafted: GraftedModel, prompt: Prompt, schemes: Sequence[Scheme], n_top: int = TOP
) -> tuple[Scores, list[list[tuple[int, float]]]]:
    """(scores of one prompt, for each scheme its most likely tokens with their probabilities). Where a scheme's numbers are not
    finite, its scores say so (GraftedModel.score), and it has no likely tokens.

    Raises FloatingPointError where the first scheme is PRE and its numbers are not finite: nothing could be compared with it."""
    logits = grafted.no_logits([prompt], schemes)
    scores = grafted.score([prompt], schemes, allow_nan=True, logits=logits)
    finite = scores.joint_logprob[0].isfinite().tolist()
    if not finite[0] and not schemes[0].grafts:
        grafted.score([prompt], schemes[:1])
    best = torch.topk(logits[0].softmax(dim=-1), n_top)
    pairs = zip(best.indices.tolist(), best.values.tolist(), finite, strict=True)
    return scores, [
        list(zip(tokens, shares, strict=True)) if there else [] for tokens, shares, there in pairs
    ]
