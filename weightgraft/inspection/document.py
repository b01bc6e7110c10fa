"""Everything that was found as plain data: what --json prints, and what the table and the picture are made from."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weightgraft import Prompt, Scheme
from weightgraft.engine.scores import Scores
from weightgraft.inspection.measure import CellMap

SMALLEST_GAIN = (
    0.1  # nats; below, the recovered fraction would divide by little more than rounding in bfloat16
)


NOT_FINITE = "not finite"  # instead of a number


def warning(pre: float, sft: float) -> str | None:
    """Why a recovered fraction means nothing here, or None if it does mean something. pre, sft: log-probabilities."""
    if sft - pre >= SMALLEST_GAIN:
        return None
    if not math.isfinite(sft):
        return "SFT's log-probability of this target is not finite: recovered fractions would mean nothing"
    return (
        f"SFT does not beat PRE on this target (log-probability {sft:.3f} against {pre:.3f}; a gain of {SMALLEST_GAIN:g} is "
        "the least that counts): recovered fractions would mean nothing"
    )


def recovered(value: float, pre: float, sft: float) -> float | None:
    """(value - PRE) / (SFT - PRE), not clipped; None where it would mean nothing."""
    return None if warning(pre, sft) or not math.isfinite(value) else (value - pre) / (sft - pre)


def finite(value: float) -> float | None:
    """The value, or None, as JSON knows it, where it is not finite."""
    return value if math.isfinite(value) else None


def scheme_rows(
    schemes: Sequence[Scheme],
    scores: Scores,
    top: Sequence[Sequence[tuple[int, float]]],
    text: Callable[[int], str],
) -> list[dict[str, Any]]:
    """One entry a scheme, PRE and SFT first. The rank is of the target's first token, the log-probability of all of them.

    logit_difference: the target's first token less the foil's; None where there is no foil. Where a scheme's log-probability is
    not finite, all its numbers are None, and no token is likely.
    """
    pre, sft = scores.joint_logprob[0, :2].tolist()
    rows = []
    for i, scheme in enumerate(schemes):
        value = scores.joint_logprob[0, i].item()
        difference = (scores.target_logit[0, i] - scores.foil_logit[0, i]).item()
        best = [{"token": token, "text": text(token), "probability": share} for token, share in top[i]]
        rows.append(
            {
                "scheme": scheme.name,
                "target_rank": int(scores.target_rank[0, i]) or None,
                "joint_logprob": finite(value),
                "recovered": recovered(value, pre, sft),
                "logit_difference": finite(difference),
                "top": best,
            }
        )
    return rows


def map_entry(found: CellMap, donor: str, pre: float, sft: float) -> dict[str, Any]:
    """The map as nested lists, [row][token], with whole tokens and whole rows beside it."""

    def fractions(values: list[float]) -> list[float | None]:
        return [recovered(value, pre, sft) for value in values]

    def entry(values: list[float]) -> dict[str, list[float | None]]:
        return {"joint_logprob": [finite(value) for value in values], "recovered": fractions(values)}

    cells = [entry(line) for line in found.cells.tolist()]
    return {
        "donor": donor,
        "rows": list(found.rows),
        "joint_logprob": [line["joint_logprob"] for line in cells],
        "recovered": [line["recovered"] for line in cells],
        "whole_token": entry(found.tokens.tolist()),
        "whole_row": entry(found.layers.tolist()),
    }


def token_entries(prompt: Prompt, sets: Sequence[str], text: Callable[[int], str]) -> dict[str, Any]:
    """The tokens of prompt and target, and which of them each position set of `sets` has, in the prompt's order."""
    ordered = sorted(sets, key=lambda name: tuple(prompt.positions[name]))
    return {
        "tokens": [{"id": token, "text": text(token)} for token in prompt.tokens],
        "target_tokens": [{"id": token, "text": text(token)} for token in prompt.target],
        "positions": {name: list(prompt.positions[name]) for name in ordered},
    }


def headline(found: Mapping[str, Any]) -> str:
    """The one number that matters: what FE+LT recovers, or the first scheme that is neither PRE nor SFT."""
    if found["warning"]:
        return found["warning"]
    rows = {row["scheme"]: row for row in found["schemes"]}
    name = "FE+LT" if "FE+LT" in rows else list(rows)[min(2, len(rows) - 1)]
    if rows[name]["recovered"] is None:
        return f"the log-probability under {name} is {NOT_FINITE}"
    return f"{name} recovers {rows[name]['recovered']:.3f} of what SFT gains in log-probability"
