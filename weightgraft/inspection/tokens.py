"""Tokens as a reader sees them: text, with the space in front, or bytes where they are no whole character."""

from functools import lru_cache

from transformers import PreTrainedTokenizerBase

SPACE_MARKS = ("\u0120", "\u2581")  # how byte-level and SentencePiece tokens write a space
UNREADABLE = "\ufffd"
MARKS = {" ": "\u00b7", "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d"}


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The text of a token by itself, the space in front included; `<0xE2><0x82>` for a part of a character, `<id 313>` for a row of
    the unembedding that the tokenizer has no token for."""
    found = tokenizer.convert_ids_to_tokens(token)
    if found is None:
        return f"<id {token}>"
    piece = str(found)
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    if UNREADABLE in text and UNREADABLE not in piece:
        known = _bytes_of_letters()
        whole = all(letter in known for letter in piece)
        return "".join(f"<0x{known[letter]:02X}>" for letter in piece) if whole else piece
    # SentencePiece drops the space at the beginning of a text, and a token alone is one.
    return f" {text}" if piece.startswith(SPACE_MARKS) and not text.startswith(" ") else text


@lru_cache(maxsize=1)
def _bytes_of_letters() -> dict[str, int]:
    """The letters that stand for bytes in byte-level vocabularies: printable Latin-1 for itself, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(rest)}


def visible(text: str) -> str:
    """The text with its white space as small marks, and what cannot be printed as its code."""
    marked = (MARKS.get(letter, letter) for letter in text)
    return "".join(letter if letter.isprintable() else f"U+{ord(letter):04X}" for letter in marked)
