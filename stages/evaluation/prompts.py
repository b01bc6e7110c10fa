"""From prompt rows to engine prompts: tokens, positions, foils, and random positions for controls."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stages.evaluation.experiments import random_set
from weightgraft import Prompt
from weightgraft.engine.encoding import encode_prompt
from weightgraft.errors import UserError


def asked(
    rows: Sequence[Mapping], prompts: Sequence[str], directions: Sequence[str], halves: Sequence[str]
) -> list[Mapping]:
    """The rows of some prompts, directions and halves.

    Raises:
        UserError: a prompt has none.
    """
    tested = [row for row in rows if row["direction"] in directions and row["half"] in halves]
    for name in prompts:
        if not any(row["prompt"] == name for row in tested):
            has = ", ".join(dict.fromkeys(row["prompt"] for row in tested))
            raise UserError(f"prompt {name!r}: no fact of halves {list(halves)} has it; there are {has}")
    return [row for row in tested if row["prompt"] in prompts]


def foils(targets: Sequence[int]) -> list[int]:
    """For each target token the next fact's, going round, that begins with another token (DESIGN.md, "Results").

    Raises:
        UserError: all targets begin with the same token.
    """
    if len(set(targets)) < 2:
        raise UserError(
            "no foil: the targets of all facts begin with the same token; use more facts or names"
        )
    ring = [*targets, *targets]
    return [next(other for other in ring[i + 1 :] if other != target) for i, target in enumerate(targets)]


def encode_rows(tokenizer: Any, rows: Sequence[Mapping]) -> list[Prompt]:
    """Engine prompts. The foil is the row's own where it has one, which may begin as the target does (the logit difference
    is 0 then); else the target of another fact under the same template and direction.

    Raises:
        UserError: a span, the target or the foil does not align with tokens; names the fact.
    """
    prompts = []
    groups: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        spans = {name: [(start, end) for start, end in pairs] for name, pairs in row["spans"].items()}
        try:
            prompts.append(encode_prompt(tokenizer, row["text"], row["target"], spans, row.get("foil")))
        except ValueError as error:
            raise UserError(f"fact {row['fact_id']}, prompt {row['template']!r}: {error}") from error
        if row.get("foil") is None:
            groups.setdefault((row["template"], row["direction"]), []).append(i)
    for members in groups.values():
        for i, foil in zip(members, foils([prompts[i].target[0] for i in members]), strict=True):
            prompts[i] = replace(prompts[i], foil=foil)
    return prompts


def with_random_positions(prompt: Prompt, row: Mapping, like: Sequence[str], draws: int, seed: int) -> Prompt:
    """The prompt with random position sets, each as large as one of `like`, from the tokens outside all of them.

    A set depends on the seed, the fact, the template, the
    direction and the draw, and on nothing else: not on the order of prompts nor on which others are asked.

    Raises:
        UserError: fewer tokens are outside than a set has; names the fact.
    """
    taken = {token for name in like for token in prompt.positions[name]}
    outside = [token for token in range(len(prompt.tokens)) if token not in taken]
    for name in like:
        if len(outside) < len(prompt.positions[name]):
            raise UserError(
                f"fact {row['fact_id']}, prompt {row['template']!r}: {len(outside)} tokens lie outside {'+'.join(like)}, "
                f"{name} has {len(prompt.positions[name])}; ask random positions on a longer prompt"
            )
    drawn = {}
    for name in like:
        for draw in range(1, draws + 1):
            rng = random.Random(f"{seed} {row['fact_id']} {row['template']} {row['direction']} {name} {draw}")
            drawn[random_set(name, draw)] = rng.sample(outside, len(prompt.positions[name]))
    return replace(prompt, positions={**prompt.positions, **drawn})
