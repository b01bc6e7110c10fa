"""From text to a Prompt: target and prompt are tokenized together, spans of characters become positions."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from .schemes import Prompt


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    target: str,
    spans: Mapping[str, Sequence[tuple[int, int]]],
    foil: str | None = None,
) -> Prompt:
    """Tokenize one prompt. tokenizer: a fast one, since it must know which characters each token covers.

    target, foil: what may follow the text, with the space in front where there is one. spans: for each position
    set, (start, end) characters of the text, end excluded.
    Raises ValueError where the text is tokenized differently with the target behind it (both are shown), and
    where a span's borders fall inside a token.
    """
    encoded = tokenizer(text, return_offsets_mapping=True)
    tokens, offsets = encoded["input_ids"], encoded["offset_mapping"]
    positions = {
        name: [token for start, end in members for token in _covered(name, text, offsets, start, end)]
        for name, members in spans.items()
    }
    following = _following(tokenizer, text, tokens, target)
    first_of_foil = None if foil is None else _following(tokenizer, text, tokens, foil)[0]
    return Prompt(tokens=tokens, positions=positions, target=following, foil=first_of_foil)


def _following(
    tokenizer: PreTrainedTokenizerBase, text: str, tokens: Sequence[int], continuation: str
) -> list[int]:
    together = tokenizer(text + continuation)["input_ids"]
    if together[: len(tokens)] != list(tokens) or len(together) == len(tokens):
        raise ValueError(
            f"unstable boundary between {text!r} and {continuation!r}: {tokenizer.convert_ids_to_tokens(list(tokens))} alone, "
            f"{tokenizer.convert_ids_to_tokens(together)} together"
        )
    return together[len(tokens) :]


def _covered(name: str, text: str, offsets: Sequence[tuple[int, int]], start: int, end: int) -> list[int]:
    """The tokens of a span of characters, white space inside it included; a token may reach beyond the span over
    white space only."""
    covered = []
    for token, (first, last) in enumerate(offsets):
        if first < last and first < end and last > start:
            if text[first:start].strip() or text[end:last].strip():
                raise ValueError(
                    f"position set {name!r}: {text[start:end]!r} ends inside the token {text[first:last]!r}"
                )
            covered.append(token)
    if not covered:
        raise ValueError(f"position set {name!r}: characters {start} to {end} of {text!r} hold no token")
    return covered
