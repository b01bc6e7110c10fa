"""Spans of characters: which they are, and which tokens hold them."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from .words import shown, whole_numbers

PAIRS = "give pairs of characters (start, end), end excluded, as in [(0, 3)]"
OTHER_LETTERS = "write it in letters that it knows"


def characters_of(spans: object, text: str) -> dict[str, list[tuple[int, int]]]:
    """The (start, end) characters of each position set. Raises ValueError for what is no pairs of whole numbers."""
    if not isinstance(spans, Mapping):
        raise ValueError(
            f"spans are {shown(spans)}; give (start, end) characters by names: {{'FE': [(0, 3)]}}"
        )
    if "LT" in spans:
        raise ValueError("position set 'LT' is the last token of every prompt; give the span another name")
    return {name: _pairs(name, members, text) for name, members in spans.items()}


def _pairs(name: str, members: object, text: str) -> list[tuple[int, int]]:
    """The (start, end) of each span of a set, within the text."""
    if isinstance(members, str | Mapping) or not isinstance(members, Iterable):
        raise ValueError(f"position set {name!r}: {shown(members)} is no list; {PAIRS}")
    pairs = []
    for span in members:
        pair = whole_numbers(f"position set {name!r}", span, PAIRS)
        if len(pair) != 2:
            raise ValueError(f"position set {name!r}: {shown(span)} is no pair; {PAIRS}")
        pairs.append((pair[0], pair[1]))
    return pairs


def left_out(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Letters, digits, punctuation and symbols that no token holds: rules of a tokenizer may strip them, or know no token for
    them. Accents, controls, white space and what Unicode joins to the letter before (Hangul) may be part of what stands beside."""
    held = {place for first, last in offsets for place in range(first, last)}
    special = min(held, default=0)  # a BOS that the text begins with is a token without characters
    return [
        place
        for place, letter in enumerate(text)
        if place not in held and place >= special and _stands(letter) and not _joins(text, place)
    ]


def _stands(letter: str) -> bool:
    category = unicodedata.category(letter)
    return category[0] in "LNPS" or category == "Co"


def _joins(text: str, place: int) -> bool:
    before, after = (
        unicodedata.normalize("NFKC", text[max(0, place - 3) : end]) for end in (place, place + 1)
    )
    return len(after) <= len(before)


def check_words(name: str, text: str, span: tuple[int, int], missing: Sequence[int]) -> None:
    """Raises ValueError where letters of a span's words are in no token: the offsets of what stands beside them are wrong then."""
    start, end = span
    if not 0 <= start <= end <= len(text):
        return  # as of any span that is not in the text, it is told that it holds no token
    while start > 0 and not text[start - 1].isspace():
        start -= 1
    while end < len(text) and not text[end].isspace():
        end += 1
    if lost := [place for place in missing if start <= place < end]:
        raise ValueError(
            f"position set {name!r}: the tokenizer leaves out {text[lost[0]]!r} in {shown(text[start:end])}, and does not tell "
            f"which tokens are the rest; {OTHER_LETTERS}"
        )


def covered(
    name: str,
    text: str,
    offsets: Sequence[tuple[int, int]],
    span: tuple[int, int],
    taken: Sequence[tuple[int, int]],
) -> range:
    """The tokens of a span of characters; `taken`: all spans of the prompt."""
    inside = text[slice(*span)] if 0 <= span[0] <= span[1] <= len(text) else ""
    start = span[0] + len(inside) - len(inside.lstrip())
    end = start + len(inside.strip())  # white space at a span's end is in the next word's token
    found = [
        token for token, (first, last) in enumerate(offsets) if first < last and first < end and last > start
    ]
    if start == end or not found:
        raise ValueError(
            f"position set {name!r}: characters {span[0]} to {span[1]} of {text!r} hold no token"
        )
    for token in found:
        first, last = offsets[token]
        beside = [i for i in range(first, last) if not start <= i < end and not text[i].isspace()]
        # Offsets that several tokens share do not tell which of them holds what is beside the span.
        if beside and (
            offsets.count((first, last)) > 1
            or any(unicodedata.category(text[i])[0] in "LMN" for i in beside)
            or any(low <= i < high for low, high in taken for i in beside)
        ):
            raise ValueError(
                f"position set {name!r}: {text[start:end]!r} ends inside the token {text[first:last]!r} of {text!r}"
            )
    # From the first to the last: a space between two words can be a token that covers no character.
    return range(found[0], found[-1] + 1)
