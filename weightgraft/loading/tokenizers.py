"""The tokenizers of folders: the recipient's, which cuts the prompt, and those that donors bring, which must cut it alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from weightgraft.engine.schemes import RECIPIENT
from weightgraft.engine.steadiness import check_steady
from weightgraft.engine.vocabularies import check_same_ids
from weightgraft.errors import UserError
from weightgraft.loading.files import is_adapter
from weightgraft.loading.folders import has_tokenizer, same_tokenizer, stacked
from weightgraft.loading.models import LOCAL, one_line_errors, read_config

AGAIN = "copy tokenizer.json, tokenizer_config.json and what lies beside them again, from where the model was trained"
PROBE = "Ab cd."

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
    """That every donor's tokenizer gives the recipient's ids to what is asked.

    Raises:
        UserError: names the first token that differs.
    """
    for name, theirs in tokenizers.items():
        if name != RECIPIENT:
            with one_line_errors():
                check_same_ids(name, theirs, tokenizers[RECIPIENT], texts, special)
