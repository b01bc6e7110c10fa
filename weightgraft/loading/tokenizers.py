"""The tokenizers of folders: the recipient's, which cuts the prompt, and those that donors bring, which must cut it alike."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from weightgraft.engine.encoding import token_ids
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.engine.steadiness import check_steady
from weightgraft.engine.vocabularies import check_same_ids
from weightgraft.errors import UserError
from weightgraft.loading.files import is_adapter
from weightgraft.loading.folders import has_tokenizer, same_tokenizer, stacked
from weightgraft.loading.models import LOCAL, one_line_errors, read_config
from weightgraft.notes import note

AGAIN = "copy tokenizer.json, tokenizer_config.json and what lies beside them again, from where the model was trained"
PROBE = "Ab cd."
MOST_SHOWN = 5  # of what is unknown

Tokenizers = dict[str, PreTrainedTokenizerBase]


def load_tokenizers(recipient: Path, donors: Mapping[str, Path]) -> Tokenizers:
    """The recipient's tokenizer, and that of every donor that brings one: the recipient's own where all files are the same.

    Raises:
        UserError: one cannot be loaded or draws how it cuts a text, or the recipient's cannot tell the characters of its tokens.
    """
    own = {name: stacked(path)[-1] for name, path in donors.items()}
    folders = {RECIPIENT: recipient} | {name: path for name, path in own.items() if has_tokenizer(path)}
    tokenizers: dict[str, PreTrainedTokenizerBase] = {}
    for name, path in folders.items():
        option = f"--recipient {path}" if name == RECIPIENT else f"--donor {name}={path}"
        if name != RECIPIENT and same_tokenizer(recipient, path):
            tokenizers[name] = tokenizers[RECIPIENT]
            continue
        # AutoTokenizer would read the config too, without saying what is wrong with it.
        config = None if is_adapter(path) else read_config(option, path)
        # Its files may say anything, and tokenizers raises nothing narrower, some of it not before the first text.
        with one_line_errors(f"{option}: its tokenizer cannot be used: ", f"; {AGAIN}", more=(Exception,)):
            tokenizers[name] = AutoTokenizer.from_pretrained(path, config=config, **LOCAL)
            tokenizers[name](PROBE)
            if not tokenizers[name].vocab_size:
                raise ValueError("its vocabulary is empty")
        with one_line_errors(f"{option}: "):
            check_steady(tokenizers[name])
    if not tokenizers[RECIPIENT].is_fast:
        raise UserError(
            f"--recipient {recipient}: a slow tokenizer, which does not know the characters of its tokens; add tokenizer.json"
        )
    return tokenizers


def check_asked(tokenizers: Tokenizers, texts: Sequence[str], special: bool) -> None:
    """That every donor's tokenizer gives the recipient's ids to what is asked. What of it the recipient's does not know is a note.

    Raises:
        UserError: names the first token that differs.
    """
    for name, theirs in tokenizers.items():
        if name != RECIPIENT:
            with one_line_errors():
                check_same_ids(name, theirs, tokenizers[RECIPIENT], texts, special)
    _tell_unknown(tokenizers[RECIPIENT], texts, special)


def _tell_unknown(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool) -> None:
    """A note on what a model is not asked although it was typed: what the tokenizer leaves out, as BPE does with bytes that it was
    not trained on, and what it writes as one and the same unknown token."""
    known: set[str] = set()
    left_out: list[str] = []
    unknown: dict[str, None] = {}
    own = tokenizer.unk_token, getattr(tokenizer.backend_tokenizer.model, "unk_token", None)
    marks = {tokenizer.convert_tokens_to_ids(token) for token in own if isinstance(token, str)}
    for text in texts:
        tokens = token_ids(tokenizer, text, special)
        # Where there is an unknown token, other letters give the same one.
        letters = () if marks & {*tokens} else dict.fromkeys("".join(text.split()))
        for letter in (letter for letter in letters if letter not in known):
            known.add(letter)
            with suppress(ValueError):  # nothing else is there
                if token_ids(tokenizer, text.replace(letter, ""), special) == tokens:
                    left_out.append(letter)
        found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        for token, (first, last) in zip(found["input_ids"], found["offset_mapping"], strict=True):
            piece = text[first:last].strip()
            if token in marks and piece not in ("", tokenizer.convert_ids_to_tokens(token)):
                unknown[piece] = None
    if unknown:
        note(
            f"the tokenizer knows no token for {_some(unknown)}: one token for all that is unknown is asked instead"
        )
    if left_out:
        note(
            f"the tokenizer knows no token for {_some(left_out)} and leaves that out: what is asked is the rest"
        )


def _some(pieces: Iterable[str]) -> str:
    shown = [repr(piece) for piece in pieces]
    return ", ".join(shown[:MOST_SHOWN]) + (
        f" and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
    )
