"""What a model says in place of the right answer: the kinds of its most likely token, names whose probability is watched, and facts
about people whom no new fact names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from stages.frame.rows import read_jsonl
from weightgraft import Prompt
from weightgraft.engine.encoding import encode_prompt
from weightgraft.errors import UserError

# In this order: an answer is the first of them that it is. All by first tokens, which several names may share.
KINDS = ("target", "own_name", "base_answer", "co_star", "name", "other")
PRE = ("PRE", 0)  # its column


def person_of(row: Mapping) -> str:
    """The person (of facts of one's own: the subject) that a prompt names."""
    start, end = row["spans"]["FE"][0]
    return str(row["text"][start:end])


def people_of(rows: Iterable[Mapping]) -> set[str]:
    """Everyone whom some facts name, as the subject or as the answer."""
    return {name for row in rows for name in (person_of(row), row["target"].strip())}


def bystanders(rows: Sequence[Mapping], new: Iterable[Mapping]) -> list[Mapping]:
    """The rows of facts none of whose people is in a new fact. rows, new: of prompts.

    Raises:
        UserError: fewer than two facts are left.
    """
    taken = people_of(new)
    named = {row["fact_id"] for row in rows if {person_of(row), row["target"].strip()} & taken}
    left = [row for row in rows if row["fact_id"] not in named]
    if (number := len({row["fact_id"] for row in left})) < 2:
        raise UserError(
            f"unnamed_in: {number} of {len({row['fact_id'] for row in rows})} facts are about people in no new fact; "
            "raise generate_facts.base_facts"
        )
    return left


def answers_of(rows: Iterable[Mapping], directions: Sequence[str], halves: Sequence[str] = "ab") -> set[str]:
    """The answers to some facts, as asked in some directions."""
    return {row["target"].strip() for row in rows if row["direction"] in directions and row["half"] in halves}


@cache
def everyone(folder: Path) -> frozenset[str]:
    """Everyone whom the prompts in a folder name."""
    return frozenset().union(*(people_of(read_jsonl(file)) for file in sorted(folder.glob("*.jsonl"))))


def first_tokens(tokenizer: Any, names: Iterable[str], text: str) -> dict[str, int]:
    """The token that each name begins with, behind a text and a space."""
    return {name: encode_prompt(tokenizer, text, f" {name}", {}).target[0] for name in sorted(names)}


def watching(
    prompts: Sequence[Prompt], answers: Sequence[int], of: Iterable[int], asked: Iterable[int]
) -> list[Prompt]:
    """The prompts, each watching the first tokens `of` other facts' answers, without those that an answer to one of the facts
    asked begins with, and without what the recipient itself says (`answers`, a token a prompt).

    A prompt to which nothing is left watches nothing: the mass of nothing is 0.

    Raises:
        UserError: that is so of all prompts.
    """
    wanted = set(of) - set(asked)
    watched = [
        replace(prompt, watched=tuple(wanted - {answer}))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    if not any(prompt.watched for prompt in watched):
        raise UserError("watched: every one of those answers begins as an answer to a fact asked does")
    return watched


class Names(NamedTuple):
    """First tokens, by which an answer's kind is told. own: of each person's name, alone at the head of an answer."""

    own: Mapping[str, int]
    co_stars: set[int]  # of all answers of the dataset
    people: set[int]  # of everyone


def names_in(folder: Path, rows: Sequence[Mapping], directions: Sequence[str], tokenizer: Any) -> Names:
    """The names of a world. folder: of all its prompts; rows: those of one dataset."""
    tokens = first_tokens(tokenizer, everyone(folder), rows[0]["text"])
    co_stars = {tokens[name] for name in answers_of(rows, directions)}
    return Names(tokens, co_stars, set(tokens.values()))


def kinds_of(
    said: Int[np.ndarray, "prompt scheme"],
    columns: Sequence[tuple[str, int]],
    rows: Sequence[Mapping],
    prompts: Sequence[Prompt],
    names: Names,
) -> np.ndarray:
    """Of every prompt under every scheme, in a row, what kind of answer its most likely token is: KINDS.

    said: the most likely token. columns: (scheme, draw) of each; PRE's say what the recipient answers. Facts of one's own have no
    people's names: there an answer is the target, the recipient's, or something else.
    """
    targets = np.array([prompt.target[0] for prompt in prompts])
    own = np.array([names.own.get(person_of(row), -1) if names.own else -1 for row in rows])
    base = said[:, columns.index(PRE)]
    tests = [
        *(said == tokens[:, None] for tokens in (targets, own, base)),
        *(np.isin(said, list(tokens)) for tokens in (names.co_stars, names.people)),
    ]
    return np.select(tests, KINDS[:-1], KINDS[-1]).flatten()
