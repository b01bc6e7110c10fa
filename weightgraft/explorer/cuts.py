"""Cuts of attention in the explorer: they are in a scheme's notation, and clicks on the grid leave them as they are."""

from collections.abc import Iterable
from dataclasses import replace

from weightgraft.engine.cuts import tokens_at
from weightgraft.engine.schemes import Cut, Prompt
from weightgraft.explorer.spelling import positions_text


def with_cuts(text: str, cuts: Iterable[Cut]) -> str:
    """A notation with cuts behind it; alone they say PRE."""
    told = [str(cut) for cut in cuts]
    return ", ".join(told if told and text == "PRE" else [text, *told])


def in_single_tokens(cut: Cut, prompt: Prompt) -> Cut:
    """The same cut of a prompt, its positions written as T0, T1, ..."""
    queries, keys = (
        positions_text(frozenset(tokens_at(positions, prompt)), len(prompt.tokens), {})
        for positions in (cut.queries, cut.keys)
    )
    return replace(cut, queries=queries, keys=keys)
