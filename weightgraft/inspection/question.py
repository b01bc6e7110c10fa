"""The question as typed: spans of the prompt, and the schemes asked. Plain Python: mistakes are told before torch is imported."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from unicodedata import combining, normalize

from weightgraft.engine.notation import RESERVED, NotationError, Reader
from weightgraft.engine.schemes import RECIPIENT, Scheme, parse_scheme
from weightgraft.engine.words import NAME, shown
from weightgraft.errors import UserError

# Numbers of more digits are larger than anything that is counted here, and Python reads 4,300 digits at most.
OFFSETS = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")
# T0, T1, ...: every token of the prompt is a position set of its own.
TOKEN_SET = re.compile(r"T(0|[1-9][0-9]*)")
LAST = "LT"
MOST_PLACES = 10  # that a message shows
REFERENCES = ("PRE", "SFT")
Spans = dict[str, list[tuple[int, int]]]


def check_texts(prompt: str, target: str, foil: str | None) -> None:
    """That there is something to ask.

    Raises:
        UserError: an option is empty, or holds bytes that are no text.
    """
    if prompt == "":
        raise UserError("--prompt is empty; give what both models are asked, such as 'Ann Lee stars with'")
    for option, text in (("--prompt", prompt), ("--target", target), ("--foil", foil)):
        if text == "":
            raise UserError(f"{option} is empty; give a text, such as ' Bob', its space in front")
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{option} is no text: its character {error.start} stands for a byte that is not UTF-8; type it, or convert it to "
                "UTF-8"
            ) from None


def read_spans(given: Sequence[str], text: str) -> Spans:
    """Characters (start, end), end excluded, of the position sets of `--span NAME=TEXT` or `--span NAME=start:end`. A name
    that is given several times is the union.

    Raises:
        UserError: the text of a span is not in the prompt exactly once, or a name or an offset cannot be.
    """
    spans: Spans = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals or not value:
            raise UserError(f"--span {entry!r}: write NAME=TEXT or NAME=start:end, such as FE='Ann Lee'")
        if not re.fullmatch(NAME, name) or name in RESERVED | {LAST} or TOKEN_SET.fullmatch(name):
            taken = ", ".join([*sorted(RESERVED), "LT (the last token)", "T0, T1, ... (single tokens)"])
            raise UserError(f"--span {name!r}: a name is letters, digits and _, and none of {taken}")
        spans.setdefault(name, []).append(_characters(name, value, text))
    return spans


def _characters(name: str, value: str, text: str) -> tuple[int, int]:
    if offsets := OFFSETS.fullmatch(value):
        start, end = int(offsets[1]), int(offsets[2])
        if not start < end <= len(text):
            raise UserError(
                f"--span {name}={value}: start must be below end, and end at most {len(text)}, the prompt's length"
            )
        return start, end
    found = [place for place in range(len(text)) if text.startswith(value, place)]
    if len(found) == 1:
        return found[0], found[0] + len(value)
    if not found and (other := _other_form(value, text)):
        raise UserError(
            f"--span {name}={shown(value)}: the prompt has it in another Unicode form; give {name}={other[0]}:{other[1]}, or copy "
            "it from the prompt"
        )
    if not found:
        raise UserError(
            f"--span {name}={shown(value)}: occurs 0 times in the prompt; "
            f"give {name}=start:end in characters, 0 to {len(text)}"
        )
    raise UserError(
        f"--span {name}={shown(value)}: occurs {len(found)} times in the prompt, at characters {_shown_list(found)}; "
        f"give {name}=start:end, such as {name}={found[0]}:{found[0] + len(value)}"
    )


def spans_in_turn(spans: Spans, text: str, turn: str, shift: int) -> Spans:
    """Spans of what was typed as spans of the user's turn that a chat template has written around it, without the white space that
    many templates strip off. shift: how much further back the text is there (engine/chat.py).

    Raises:
        UserError: nothing is left of a span.
    """
    bare = text.strip()
    first = text.index(bare)
    whole = shift >= 0 and turn.startswith(text, shift)
    kept = (0, len(text)) if whole else (first, first + len(bare))
    found: Spans = {name: [] for name in spans}
    for name, members in spans.items():
        for start, end in members:
            left = max(start, kept[0]), min(end, kept[1])
            if left[0] >= left[1]:
                raise UserError(
                    f"position set {name!r}: the chat template strips the characters {start} to {end} off; mark the words alone"
                )
            found[name].append((left[0] + shift, left[1] + shift))
    return found


def _shown_list(places: Sequence[int]) -> str:
    return ", ".join([*map(str, places[:MOST_PLACES]), *(["..."] if len(places) > MOST_PLACES else [])])


def _other_form(value: str, text: str) -> tuple[int, int] | None:
    """Where the prompt has what looks the same: accents as letters of their own, or other letters of the same meaning."""
    wanted = normalize("NFKC", value)
    if wanted not in normalize("NFKC", text):  # to look at every part of a long prompt takes seconds
        return None
    for start in range(len(text)):
        for end in range(start + 1, min(start + 3 * len(value), len(text)) + 1):
            if normalize("NFKC", text[start:end]) == wanted:
                while end < len(text) and combining(text[end]):  # accents that follow belong to it
                    end += 1
                return start, end
    return None


def default_schemes(spans: Collection[str], donors: Sequence[str]) -> list[str]:
    """The paper's eight schemes with the first span in the place of FE, its combinations with every further span (as
    with the movie title), and every further donor whole."""
    schemes = [*REFERENCES, *(f"{donor}:SFT" for donor in donors[1:])]
    if not spans:
        return [*schemes, "LT", "LT^C"]
    first, *others = sorted(spans, key=lambda name: name != "FE")  # FE first where there is one
    schemes += [first, "LT", f"{first}+LT", f"({first}+LT)^C", f"{first}^C", "LT^C"]
    for other in others:
        both = f"{first}+{other}"
        schemes += [other, f"{other}+LT", both, f"{both}+LT", f"({both})^C", f"({both}+LT)^C"]
    return schemes


def read_schemes(
    texts: Sequence[str], donors: Sequence[str], spans: Collection[str], n_tokens: int | None = None
) -> list[Scheme]:
    """The schemes, PRE and SFT first, each once. donors: the first serves where a scheme names none. n_tokens: of the
    prompt; None where it is not known yet.

    Raises:
        UserError: a scheme cannot be read, or names a position set or donor that does not exist; names the character.
    """
    schemes = []
    for text in dict.fromkeys((*REFERENCES, *(text.strip() for text in texts))):
        try:
            scheme = parse_scheme(text, donor=donors[0])
            if scheme.grafts or scheme.cuts:
                _check_names(text, donors, (*spans, LAST), n_tokens)
        except NotationError as error:
            raise UserError(str(error)) from None
        schemes.append(scheme)
    return schemes


def _check_names(text: str, donors: Sequence[str], sets: Sequence[str], n_tokens: int | None) -> None:
    for kind, name, place in named(text):
        single = TOKEN_SET.fullmatch(name)
        if kind == "donor" and name not in (*donors, RECIPIENT):
            raise NotationError(
                text, place, f"no donor {name!r}; there are {', '.join((*donors, RECIPIENT))}"
            )
        if kind == "position set" and name not in sets and not single:
            raise NotationError(
                text,
                place,
                f"no position set {name!r}; there are {', '.join(sets)}, and T0, T1, ... for tokens",
            )
        if kind == "position set" and single and n_tokens is not None and not _is_token(single[1], n_tokens):
            raise NotationError(text, place, f"no token {name!r}; the prompt has T0 to T{n_tokens - 1}")


def _is_token(digits: str, n_tokens: int) -> bool:
    return len(digits) <= len(str(n_tokens)) and int(digits) < n_tokens


def named(text: str) -> Iterator[tuple[str, str, int]]:
    """The donors and position sets that a readable notation names: (which of them, name, character from 0).

    Read from the end: what stands before an @ are components, until the comma before them.
    """
    tokens = Reader(text).tokens
    components, depth = False, 0
    for (kind, value, place), (kind_behind, behind, _) in reversed(list(pairwise(tokens))):
        depth += {"]": 1, "}": 1, "[": -1, "{": -1}.get(value, 0)
        if depth == 0 and value in ("@", ","):
            components = value == "@"
        if kind == "name" and depth == 0:
            if value == "cut" and (kind_behind == "name" or behind == "("):
                continue  # the word for a cut of attention, and no position set
            if behind == ":":
                yield "donor", value, place
            elif not components and value not in RESERVED:
                yield "position set", value, place


def token_sets(n_tokens: int) -> Mapping[str, tuple[int]]:
    """T0, T1, ...: a position set for every token."""
    return {f"T{token}": (token,) for token in range(n_tokens)}
