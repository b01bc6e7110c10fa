"""The directories of the command line: a recipient, donors by name, adapters among them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from weightgraft.engine.notation import RESERVED
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.engine.words import NAME
from weightgraft.errors import UserError
from weightgraft.loading.files import TOKENIZER_FILES, listing
from weightgraft.loading.folders import check_model, check_tokenizer, has_tokenizer


def named_donors(given: Sequence[str]) -> dict[str, Path]:
    """The donors of `--donor NAME=DIR`, in their order.

    Raises:
        UserError: no name, a name that schemes cannot use, or one name twice.
    """
    donors: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        hollow = not folder.strip() or ("" in folder.split("+") and not Path(folder).exists())
        if not equals or hollow:
            raise UserError(
                f"--donor {text!r}: write NAME=DIR, such as sft=path/of/finetuned, or NAME=DIR+DIR for adapters on each other"
            )
        if not re.fullmatch(NAME, name) or name in RESERVED | {RECIPIENT}:
            reserved = ", ".join(sorted(RESERVED | {RECIPIENT}))
            raise UserError(f"--donor {name!r}: a name is letters, digits and _, and none of {reserved}")
        if name in donors:
            raise UserError(f"--donor {name!r} is given twice; every donor needs a name of its own")
        donors[name] = Path(folder)
    return donors


def check_folders(recipient: Path, donors: Mapping[str, Path]) -> None:
    """That every directory holds a model, or for donors a LoRA adapter, in safetensors files that are whole.

    Raises:
        UserError: names the option, the directory and what is wrong with it.
    """
    for option, path in {
        "recipient": recipient,
        **{f"donor {name}": path for name, path in donors.items()},
    }.items():
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UserError(
                f"--{option}: the name of the directory has bytes that are not UTF-8, with which tokenizers opens nothing: "
                f"{str(path)!r}; rename it, or give a link to it"
            ) from None
    family = check_model(f"--recipient {recipient}", recipient, adapters=False)
    if not has_tokenizer(recipient):
        raise UserError(
            f"--recipient {recipient}: no tokenizer (none of {', '.join(TOKENIZER_FILES)}); there is {listing(recipient)}"
        )
    check_tokenizer(f"--recipient {recipient}", recipient)
    for name, folder in donors.items():
        theirs = check_model(f"--donor {name}={folder}", folder, adapters=True)
        if theirs not in (None, family):
            raise UserError(f"--donor {name}={folder}: a {theirs} model; the recipient is a {family} model")
        if theirs is not None:
            check_tokenizer(f"--donor {name}={folder}", folder)
