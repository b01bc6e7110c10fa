"""From text to a Prompt: target and prompt are tokenized together, spans of characters become positions.

Which characters a token covers is what the tokenizer says (its offsets), put right where families say it loosely.
tests/grafting/test_tokenizer_kinds.py holds it against the tokens' bytes.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from itertools import groupby

from transformers import PreTrainedTokenizerBase

from weightgraft.notes import note

from .schemes import Prompt
from .steadiness import check_steady

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
    span's borders fall inside a token or it holds none, for a text or target without tokens, and for a slow tokenizer.
    """
    check_steady(tokenizer)
    tokens, offsets, doubled = _tokenized(tokenizer, text, add_special_tokens)
    if doubled:
        note(
            f"the prompt begins with {''.join(doubled)}, which the tokenizer puts in front of every text: it is there once"
        )
    taken = [span for members in spans.values() for span in members]
    positions = {
        name: [token for span in members for token in _covered(name, text, offsets, span, taken)]
        for name, members in spans.items()
    }
    following = (
        _following(tokenizer, text, tokens, "target", target, add_special_tokens)
        if isinstance(target, str)
        else list(target)
    )
    first_of_foil = None
    if foil is not None:
        first_of_foil = _following(tokenizer, text, tokens, "foil", foil, add_special_tokens)[0]
    return Prompt(tokens=tokens, positions=positions, target=following, foil=first_of_foil)


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
    if not tokenizer.is_fast:
        raise ValueError(
            f"{type(tokenizer).__name__} is no fast tokenizer: it cannot tell a token's characters"
        )
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
    together, *_ = _tokenized(tokenizer, text + continuation, special)
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
    if inside_word:
        word = f"{text.split()[-1]}{continuation}"
        note(
            f"the {what} goes on in the prompt's last word: {word!r} is asked; where it is a word of its own, write {spaced}"
        )
    return together[len(tokens) :]


def _covered(
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
    covered = [
        token for token, (first, last) in enumerate(offsets) if first < last and first < end and last > start
    ]
    if start == end or not covered:
        raise ValueError(
            f"position set {name!r}: characters {span[0]} to {span[1]} of {text!r} hold no token"
        )
    for token in covered:
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
    return range(covered[0], covered[-1] + 1)
