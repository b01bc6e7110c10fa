"""What the page asks, read from its JSON: checked here, so that everything behind it gets what it expects."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightgraft.errors import UserError
from weightgraft.inspection.question import Spans, read_spans

MOST_LETTERS = 2000  # of each text
MOST_SETS = 8
MOST_CLICKS = 100  # at once: those made while an answer was on its way
KEYS = {"prompt", "target", "foil", "chat", "spans", "scheme", "clicks"}
CLICK_KEYS = {"tokens", "rows", "components", "donor"}


@dataclass(frozen=True)
class Texts:
    """What both models read. target: None for SFT's own most likely next token. chat: whether the prompt is a user's turn."""

    prompt: str
    target: str | None
    foil: str | None
    chat: bool


@dataclass(frozen=True)
class Click:
    """Some components of some rows of the grid at some tokens, of one donor: grafted, or taken back."""

    tokens: tuple[int, ...]
    rows: tuple[str, ...]
    components: tuple[str, ...]
    donor: str


@dataclass(frozen=True)
class Question:
    """spans: characters (start, end) of each position set. scheme: a notation, before the clicks on the grid."""

    texts: Texts
    spans: Spans
    scheme: str
    clicks: tuple[Click, ...]


def told(error: UserError) -> str:
    """The line of an error as the page says it: an option of the command line is a field there."""
    return re.sub(r"--(?=[a-z])", "", str(error))


def read_question(given: Any) -> Question:
    """The question of a request's JSON.

    Raises:
        UserError: says what cannot be.
    """
    fields = _object(given, KEYS, "the question")
    prompt = _text(fields, "prompt")
    if not prompt.strip():
        raise UserError("the prompt is empty: type what both models are asked")
    chat = fields.get("chat", False)
    if not isinstance(chat, bool):
        raise UserError("chat: must be true or false")
    texts = Texts(prompt, _text(fields, "target") or None, _text(fields, "foil") or None, chat)
    spans = fields.get("spans", [])
    if not isinstance(spans, list) or len(spans) > MOST_SETS:
        raise UserError(f"spans: must be a list of at most {MOST_SETS} entries [name, start, end]")
    entries = []
    for entry in spans:
        match entry:
            case [str(name), int(start), int(end)]:
                entries.append(f"{name}={start}:{end}")
            case _:
                raise UserError("spans: an entry is [name, start, end], in characters of the prompt")
    clicks = fields.get("clicks", [])
    if not isinstance(clicks, list) or len(clicks) > MOST_CLICKS:
        raise UserError(f"clicks: must be a list of at most {MOST_CLICKS}")
    scheme = _text(fields, "scheme").strip() or "PRE"
    return Question(
        texts,
        read_spans(entries, prompt),
        scheme,
        tuple(_click(click) for click in clicks),
    )


def check_clicks(
    clicks: Sequence[Click],
    n_tokens: int,
    rows: Collection[str],
    components: Collection[str],
    donors: Collection[str],
) -> None:
    """That every click is on the grid.

    Raises:
        UserError: names what is not there.
    """
    known: Mapping[str, Collection] = {
        "tokens": range(n_tokens),
        "rows": rows,
        "components": components,
    }
    for click in clicks:
        for name, choices in known.items():
            if outside := [one for one in getattr(click, name) if one not in choices]:
                raise UserError(f"clicks: there is no {name.removesuffix('s')} {outside[0]!r}")
        if click.donor not in donors:
            raise UserError(f"clicks: there is no donor {click.donor!r}; there are {', '.join(donors)}")


def _click(given: Any) -> Click:
    fields = _object(given, CLICK_KEYS, "a click")
    for name, kind in (("tokens", int), ("rows", str), ("components", str)):
        members = fields.get(name)
        if (
            not isinstance(members, list)
            or len(members) > MOST_LETTERS
            or not all(type(member) is kind for member in members)
        ):
            raise UserError(f"a click: {name} must be a list of {'numbers' if kind is int else 'names'}")
    donor = _text(fields, "donor")
    return Click(tuple(fields["tokens"]), tuple(fields["rows"]), tuple(fields["components"]), donor)


def _object(given: Any, keys: Collection[str], what: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise UserError(f"{what} must be a JSON object")
    if unknown := sorted(given.keys() - keys):
        raise UserError(f"{what} has no {unknown[0][:40]!r}; it has {', '.join(sorted(keys))}")
    return given


def _text(fields: Mapping[str, Any], name: str) -> str:
    text = fields.get(name, "")
    if not isinstance(text, str):
        raise UserError(f"{name}: must be a text")
    if len(text) > MOST_LETTERS:
        raise UserError(f"{name}: {len(text):,} letters; the explorer takes {MOST_LETTERS:,}")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{name}: has half a character (a lone surrogate)")
    return text
