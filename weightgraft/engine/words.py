"""The words and numbers of texts that people write: the scheme notation's tokens, its errors, and whole numbers in Python."""

import operator
import re
from collections.abc import Iterable, Mapping
from itertools import islice

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(
    rf"\s*(?:(?P<name>{NAME})|(?P<number>\d+)|(?P<complement>\^C\b)|(?P<mark><-|[-+()@\[\],:{{}}/]))"
)
DIGITS = 9  # of a number; no model, layer or head needs more
AROUND = 60  # letters of a long notation that are shown on either side of an error
WIDTH = 60  # letters of a value that are shown
MOST_NUMBERS = 2**20  # a prompt's tokens, a set's positions


class NotationError(ValueError):
    """A scheme, position set, component list or layer range that cannot be read; `position` counts from 0."""

    def __init__(self, text: str, position: int, problem: str):
        first, last = (
            (0, len(text)) if len(text) <= 2 * AROUND else (max(0, position - AROUND), position + AROUND)
        )
        shown_text = f"{'...' * (first > 0)}{text[first:last]!r}{'...' * (last < len(text))}"
        super().__init__(f"scheme notation {shown_text}, character {position + 1}: {problem}")
        self.position = position


def shown(value: object, most: int = WIDTH) -> str:
    """A value as Python writes it, in one line of few letters."""
    try:
        return brief(repr(value), most)
    except Exception:  # whatever a foreign object does when it is shown
        return f"a {type(value).__name__}"


def brief(text: str, most: int = WIDTH) -> str:
    """A text in one line, cut behind `most` letters, after a word where one ends there."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    head, _, _ = line[:most].rpartition(" ")
    return f"{head or line[:most]} ..."


def check_text(what: str, value: object, example: str) -> None:
    """Raises ValueError, which shows what was given, where it is no text."""
    if not isinstance(value, str):
        raise ValueError(
            f"{what} is {shown(value)}, a {type(value).__name__} and no text; give one such as {example!r}"
        )


def tokens_of(text: str) -> list[tuple[str, str, int]]:
    """(kind, value, character) of every token of a notation, and of its end. Raises NotationError where there is none."""
    tokens, offset, length = [], 0, len(text.rstrip())
    while offset < length:
        match = _TOKEN.match(text, offset)
        if match is None or match.lastgroup is None:
            offset += len(text[offset:]) - len(text[offset:].lstrip())
            raise NotationError(text, offset, f"{text[offset]!r} has no meaning here")
        value, place = match[match.lastgroup], match.start(match.lastgroup)
        if match.lastgroup == "number" and len(value) > DIGITS:
            raise NotationError(text, place, f"a number of {len(value)} digits; numbers have up to {DIGITS}")
        tokens.append((match.lastgroup, value, place))
        offset = match.end()
    tokens.append(("end", "the end", len(text)))
    return tokens


def whole_numbers(what: str, values: object, cure: str) -> tuple[int, ...]:
    """Integers out of a sequence, a tensor or an array of such. what, cure: begin and end the error's sentence.

    Raises ValueError for all else: a mask of True and False is no list of places, and 2.5 is no place.
    """
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"{what}: {shown(values)} is no list of whole numbers; {cure}")
    found = []
    for value in islice(values, MOST_NUMBERS + 1):
        value = value.tolist() if hasattr(value, "tolist") else value
        try:
            found.append(value if type(value) is int else operator.index(value))
        except TypeError:
            raise ValueError(f"{what}: {shown(value)} is no whole number; {cure}") from None
        if isinstance(value, bool):
            raise ValueError(f"{what}: {value} is no whole number; {cure}")
    if len(found) > MOST_NUMBERS:
        raise ValueError(f"{what}: more than {MOST_NUMBERS} numbers; {cure}")
    return tuple(found)
