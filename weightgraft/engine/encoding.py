"""From text to a Prompt: target and prompt are tokenized together, spans of characters become positions.

Which characters a token covers is what the tokenizer says (its offsets), put right where families say it loosely.
tests/engine/test_tokenizer_kinds.py holds it against the tokens' bytes.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from weightgraft.notes import note

from .schemes import Prompt
from .spans import OTHER_LETTERS, characters_of, check_words, covered, left_out
from .steadiness import check_steady
from .words import check_text, shown

CASED = ("Lu", "Ll", "Lt")  # letters of the scripts that write spaces between words


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    target: str | Sequence[int],
    spans: Mapping[str, Sequence[tuple[int, int]]],
    foil: str | None = None,
    *,
    add_special_tokens: bool = True,
) -> Prompt:
    """Tokenize one prompt. tokenizer: a fast one, since it must know which characters each token covers.

    target, foil: what may follow the text, with the space in front where there is one; a target that no text gives, such
    as a part of a character, as the ids of its tokens. spans: for each position set, (start, end) characters of the text,
    end excluded. add_special_tokens: False for a text that has them already, as one that a chat template has written; a
    BOS that the text begins with is never doubled.

    A span's tokens are those that hold a character of it, and the white space inside it; a character of several
    tokens (bytes) is in the span with all of them. A token may also hold white space, punctuation and symbols beside
    the span (` Ada`, or `.?` behind `Jr`), but no letter, digit or character of another span. BOS and the space that
    some tokenizers put in front of a text are in no span, and an EOS that they put behind it is left out.
    Raises ValueError where the text is tokenized differently with the target behind it (both are shown), where a
    span's borders fall inside a token or it holds none, where the tokenizer leaves letters out of a span's words or of the target,
    or does not know the target's, for a text or target without tokens, and for a slow tokenizer. Letters that it leaves out
    or does not know elsewhere are a note.
    """
    check_tokenizer(tokenizer)
    check_steady(tokenizer)
    check_unicode("the prompt", text)
    if not isinstance(target, list | tuple):
        check_unicode("the target", target)
    if foil is not None:
        check_unicode("the foil", foil)
    characters = characters_of(spans, text)
    tokens, offsets, doubled = _tokenized(tokenizer, text, add_special_tokens)
    missing = left_out(text, offsets)
    _tell_unread(tokenizer, text, tokens, offsets, missing)
    for name, members in characters.items():
        for span in members:
            check_words(name, text, span, missing)
    if doubled:
        note(
            f"the prompt begins with {''.join(doubled)}, which the tokenizer puts in front of every text: it is there once"
        )
    taken = [span for members in characters.values() for span in members]
    positions = {
        name: [token for span in members for token in covered(name, text, offsets, span, taken)]
        for name, members in characters.items()
    }
    following = (
        list(target)
        if not isinstance(target, str)
        else _following(tokenizer, text, tokens, "target", target, add_special_tokens)
    )
    first_of_foil = None
    if foil is not None:
        first_of_foil = _following(tokenizer, text, tokens, "foil", foil, add_special_tokens)[0]
    return Prompt(tokens=tokens, positions=positions, target=following, foil=first_of_foil)


def check_tokenizer(tokenizer: object) -> None:
    """Raises ValueError, with the cure, for what is no tokenizer of transformers, or a slow one."""
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        inner = (
            "processor.tokenizer"
            if hasattr(tokenizer, "tokenizer")
            else "AutoTokenizer.from_pretrained(folder)"
        )
        raise ValueError(f"a {type(tokenizer).__name__} is no tokenizer of transformers; give {inner}")
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} is no fast tokenizer: it cannot tell a token's characters"
        )


def check_unicode(what: str, text: object) -> None:
    """Raises ValueError for what is no text, or holds halves of a character (surrogates), as broken files do."""
    check_text(what, text, "Ann Lee stars with")
    try:
        str(text).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} is no text: its character {error.start} is half of one (a surrogate); read it as UTF-8"
        ) from None


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str, add_special_tokens: bool = True) -> list[int]:
    """The tokens that encode_prompt gives a text; all that a slow tokenizer gives it."""
    if not tokenizer.is_fast:
        return list(tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"])
    return _tokenized(tokenizer, text, add_special_tokens)[0]


def _tokenized(
    tokenizer: PreTrainedTokenizerBase, text: str, special: bool
) -> tuple[list[int], list[tuple[int, int]], list[str]]:
    """Tokens up to the text's last one, the characters [first, last) that each covers (none for BOS), and the special
    tokens that were left out in front because the text begins with them."""
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=special)
    tokens, offsets = encoded["input_ids"], [(first, last) for first, last in encoded["offset_mapping"]]
    of_text = [token for token, owner in enumerate(encoded.sequence_ids()) if owner is not None]
    if not of_text:
        raise ValueError(f"the prompt {text!r} holds no token")
    start, end = of_text[0], of_text[-1] + 1
    tokens, offsets = tokens[:end], [(0, 0)] * start + offsets[start:end]
    # A space in front of the text that is a token of its own claims the text's first character.
    if not str(tokenizer.decode(tokens[start])).strip() and text[slice(*offsets[start])].strip():
        offsets[start] = (0, 0)
    offsets = _each_its_own(tokenizer, text, offsets)
    own = max(i for i in range(start + 1) if tokens[start - i : start] == tokens[start : start + i])
    if not own:
        return tokens, offsets, []
    told = [str(piece) for piece in tokenizer.convert_ids_to_tokens(tokens[start : start + own])]
    behind = offsets[start + own - 1][1]
    tokens, offsets = tokens[: start - own] + tokens[start:], offsets[: start - own] + offsets[start:]
    # Behind a special token of the text some tokenizers say the characters one off; without it they do not.
    alone, places, _ = (
        _tokenized(tokenizer, text[behind:], special) if text[behind:].strip() else ([], [], [])
    )
    if alone == tokens:
        offsets = [(first + behind, last + behind) if first < last else (0, 0) for first, last in places]
    return tokens, offsets, told


def _each_its_own(
    tokenizer: PreTrainedTokenizerBase, text: str, offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Unigram gives all bytes of a run of unknown characters the run's offsets; each gets its own character's."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    own: list[tuple[int, int]] = []
    for (first, last), group in groupby(offsets):
        run = list(group)
        if len(run) > 1 and last - first > 1:
            heads = [text[first:i] for i in range(first, last + 1)]
            sizes = [len((normalizer.normalize_str(head) if normalizer else head).encode()) for head in heads]
            bytes_of = [
                (first + i, first + i + 1) for i in range(last - first) for _ in range(sizes[i], sizes[i + 1])
            ]
            run = bytes_of if len(bytes_of) == len(run) else run
        own += run
    return own


def _following(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    tokens: Sequence[int],
    what: str,
    continuation: str,
    special: bool,
) -> list[int]:
    if not continuation:
        raise ValueError(f"the {what} is empty; give the text that may follow the prompt, such as ' Bob'")
    together, offsets, _ = _tokenized(tokenizer, text + continuation, special)
    if missing := [place for place in left_out(text + continuation, offsets) if place >= len(text)]:
        raise ValueError(
            f"the {what} {shown(continuation)}: the tokenizer leaves out {(text + continuation)[missing[0]]!r}; {OTHER_LETTERS}"
        )
    inside_word = all(unicodedata.category(letter) in CASED for letter in (text[-1], continuation[0]))
    spaced = repr(f" {continuation}")
    if together[: len(tokens)] != list(tokens) or len(together) == len(tokens):
        cure = f"; write the {what} with a space in front: {spaced}" if inside_word else ""
        if text[-1].isspace():
            cure = f"; a space belongs to the {what}, in front"
        raise ValueError(
            f"unstable boundary between {text!r} and {continuation!r}: {tokenizer.convert_ids_to_tokens(list(tokens))} alone, "
            f"{tokenizer.convert_ids_to_tokens(together)} together{cure}"
        )
    if unknown := _unknown(tokenizer, text + continuation, together, offsets, len(tokens)):
        letters, token = unknown[0]
        raise ValueError(
            f"the {what} {shown(continuation)}: the tokenizer does not know {letters!r}, which is {token} to it, as much else is; "
            f"{OTHER_LETTERS}"
        )
    if inside_word:
        word = f"{text.split()[-1]}{continuation}"
        note(
            f"the {what} goes on in the prompt's last word: {word!r} is asked; where it is a word of its own, write {spaced}"
        )
    return together[len(tokens) :]


def _tell_unread(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    tokens: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    missing: Sequence[int],
) -> None:
    """Notes on what of the prompt no model is told."""
    if missing:
        note(
            f"the tokenizer leaves out {text[missing[0]]!r} of the prompt, its character {missing[0]}{_more(missing)}"
        )
    if unknown := _unknown(tokenizer, text, tokens, offsets):
        letters, token = unknown[0]
        note(
            f"the tokenizer does not know {shown(letters)} of the prompt{_more(unknown)}; to it, and to the models, it is {token}"
        )


def _unknown(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    tokens: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    start: int = 0,
) -> list[tuple[str, str]]:
    """From token `start` on, the letters that the tokenizer does not know, each with the token that stands for them: what
    transformers calls the unknown token, and what the tokenizer's own model does, which some configs do not repeat."""
    names = {tokenizer.unk_token, getattr(tokenizer.backend_tokenizer.model, "unk_token", None)} - {None}
    marks = {tokenizer.convert_tokens_to_ids(name): str(name) for name in names}
    found = [(text[slice(*offsets[place])], marks.get(tokens[place])) for place in range(start, len(tokens))]
    return [(letters, mark) for letters, mark in found if mark is not None and letters not in ("", mark)]


def _more(found: Sequence[object]) -> str:
    return f", and {len(found) - 1} more" if len(found) > 1 else ""
