"""The donors that a setup makes of its own: between two models and beyond them, or with the largest changes only."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel

from weightgraft import Interpolated, Prompt, Sparse
from weightgraft.engine.cuts import tokens_at


def made_donors(
    made: Mapping[str, Mapping[str, Any]],
    donors: Mapping[str, PreTrainedModel | str],
    prompts: Sequence[Prompt],
    parameters: int,
) -> dict[str, Interpolated | Sparse]:
    """By name, what a setup's `made_donors` ask for. prompts: all that the setup asks; parameters: of one of the models."""
    return {
        name: Interpolated(donors[one["of"]], one["strength"])
        if one.get("like") is None
        else Sparse(donors[one["of"]], entries_like(one["like"], prompts, parameters))
        for name, one in made.items()
    }


def entries_like(positions: str, prompts: Sequence[Prompt], parameters: int) -> int:
    """How many entries, at every token of these prompts, are as many parameters x tokens as all parameters at these positions:
    parameters x (tokens there / tokens), over all prompts together."""
    there = sum(len(list(tokens_at(positions, prompt))) for prompt in prompts)
    return round(parameters * there / sum(len(prompt.tokens) for prompt in prompts))
