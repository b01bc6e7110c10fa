"""Which tokenizers may meet: those that give the same ids to what is asked, and to every token that both know.

A donor is always asked with the recipient's tokens. A tokenizer of its own says which tokens it was trained on: rules that
change no id (where offsets are trimmed, a chat template, an added pad token) do not matter.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice, zip_longest
from typing import Any

from transformers import PreTrainedTokenizerBase

from weightgraft.notes import note

from .encoding import token_ids
from .schemes import RECIPIENT
from .steadiness import check_steady
from .words import shown

# What tokenizers disagree about: case, hyphens, numbers, contractions, runs of white space, letters of two Unicode forms, other
# scripts, symbols of several bytes.
PROBES = (
    "Ab cd-ef 12,345.\n  é",
    "I'm sure they'll've said: \"It's DON'T\" (2024-05-17)\t...",
    "  Zoe\u0308 Bronte\u0308, ﬁle Ⅳ ½ \u00a0end \n\n\n def f(x):\n\treturn x**2\r\n",
    "Мира Козлова 李小龙 فاتن दीपिका 😀👍🏽 naïve\u200b",
)
MOST_PROBES = 500  # texts made for the rules that two tokenizers do not share
RULES = ("normalizer", "pre_tokenizer", "post_processor", "model")


def check_tokenizers(tokenizers: Mapping[str, PreTrainedTokenizerBase], donors: Collection[str]) -> None:
    """Raises ValueError that names the first difference between a donor's tokenizer and the recipient's: in the id of a
    token that both know, or in how a text is cut (some that are hard to cut, and for each merge or score that they do not
    share the text that shows it). Other differences are a note."""
    if not isinstance(tokenizers, Mapping):
        raise ValueError(
            f"tokenizers: a {type(tokenizers).__name__}; give them by names: {{'recipient': tokenizer}}"
        )
    for name, tokenizer in tokenizers.items():
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ValueError(
                f"tokenizers: that of {shown(name)} is {shown(tokenizer)}, no tokenizer of transformers"
            )
    if RECIPIENT not in tokenizers:
        raise ValueError(f"tokenizers: the one of {RECIPIENT!r} is missing; given: {', '.join(tokenizers)}")
    for name in tokenizers:
        if name != RECIPIENT and name not in donors:
            raise ValueError(f"tokenizers: {name!r} is no donor; donors: {', '.join(donors)}")
    ours = tokenizers[RECIPIENT]
    for name, theirs in tokenizers.items():
        if name != RECIPIENT:
            check_same_ids(name, theirs, ours, [*PROBES, *islice(_telling(theirs, ours), MOST_PROBES)])


def check_same_ids(
    name: str,
    theirs: PreTrainedTokenizerBase,
    ours: PreTrainedTokenizerBase,
    texts: Iterable[str],
    special: bool = True,
) -> None:
    """Raises ValueError where a donor's tokenizer has another id for a token that both know, or gives other ids to one of
    the texts, or one of the two draws how it cuts; shows the first token that differs. What else differs is a note.

    special: whether texts get the special tokens that a tokenizer puts around them (BOS).
    """
    check_steady(ours, f"{RECIPIENT}: ")
    check_steady(theirs, f"donor {name!r}: ")
    alike = theirs.is_fast and ours.is_fast and _written(theirs) == _written(ours)
    own, known = ({}, {}) if alike else (theirs.get_vocab(), ours.get_vocab())
    for token in sorted(own.keys() & known.keys(), key=known.__getitem__):
        if own[token] != known[token]:
            raise ValueError(
                f"tokenizer of {name!r} differs from the recipient's in token {token!r}: "
                f"id {own[token]}, recipient {known[token]}"
            )
    for text in texts:
        left, right = token_ids(theirs, text, special), token_ids(ours, text, special)
        for place, (one, other) in enumerate(zip_longest(left, right)):
            if one != other:
                raise ValueError(
                    f"tokenizer of {name!r} differs from the recipient's in how it cuts {text!r}: token {place} is "
                    f"{_shown(theirs, one)}, recipient {_shown(ours, other)}; without tokenizer files of its own, a donor "
                    "is asked with the recipient's tokens"
                )
    if not alike and (told := list(_asides(theirs, ours, own, known))):
        note(
            f"donor {name!r}: its tokenizer differs from the recipient's in what changes no token here: {'; '.join(told)}"
        )


def _written(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.backend_tokenizer.to_str()


def _shown(tokenizer: PreTrainedTokenizerBase, token: int | None) -> str:
    return "missing" if token is None else f"{tokenizer.convert_ids_to_tokens(token)!r} ({token})"


def _asides(
    theirs: PreTrainedTokenizerBase,
    ours: PreTrainedTokenizerBase,
    own: Mapping[str, int],
    known: Mapping[str, int],
) -> Iterator[str]:
    """What differs in tokens that only one knows, and in rules."""
    for whose, more, less in (("only it knows", own, known), ("it does not know", known, own)):
        if alone := sorted(more.keys() - less.keys(), key=more.__getitem__):
            count = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
            yield f"{whose} {alone[0]!r} ({more[alone[0]]}){count}"
    left, right = _rules(theirs), _rules(ours)
    if left and right:
        names = [rule for rule in RULES if _without_tables(left[rule]) != _without_tables(right[rule])]
        if names:
            yield f"its {', '.join(names)} {'is' if len(names) == 1 else 'are'} written otherwise"


def _rules(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return json.loads(_written(tokenizer)) if tokenizer.is_fast else {}


def _without_tables(rule: Any) -> Any:
    return {key: value for key, value in rule.items() if key != "vocab"} if isinstance(rule, dict) else rule


def _telling(theirs: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase) -> Iterator[str]:
    """Texts that show the merges and scores that two tokenizers do not share."""
    models = [_rules(tokenizer).get("model") or {} for tokenizer in (theirs, ours)]
    tables = [[_piece(merge) for merge in model.get("merges") or []] for model in models]
    scored = [
        [tuple(entry) for entry in model["vocab"]] if isinstance(model.get("vocab"), list) else []
        for model in models
    ]
    for one, other in (tables, scored):
        for entries in zip_longest(one, other):
            if entries[0] != entries[1]:
                for entry in entries:
                    if entry is not None:
                        piece = "".join(entry) if one is tables[0] else entry[0]
                        yield ours.convert_tokens_to_string([piece])


def _piece(merge: str | list[str]) -> tuple[str, ...]:
    """A merge as a pair: older files have one text with a space in it."""
    return tuple(merge.split(" ") if isinstance(merge, str) else merge)
