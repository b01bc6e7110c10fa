"""Can a model be had that lies in a GGUF file, on this disk or in packages? Asked before any work, without a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.modeling.gguf_header import EXTRA, FAMILIES, check_gguf, config_in, reader_is_missing
from stages.modeling.packages import DOWNLOADS, checked_sum, kept_as, parts_of, pin_of, pip_is_missing
from stages.study.checking.early import check_early
from stages.study.schema import Model
from stages.study.source_schema import GgufSource, PackageSource, PackagesSource
from weightgraft.errors import UserError

FileSource = PackageSource | PackagesSource | GgufSource
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads")


def file_of(source: FileSource, root: Path) -> Path:
    """Where the GGUF file is, or will be once its packages are downloaded."""
    return Path(source.gguf) if isinstance(source, GgufSource) else kept_as(source.sha256, root / DOWNLOADS)


def check_file(key: str, model: Model, source: FileSource, root: Path) -> tuple[int, int]:
    """(numbers in the model, bytes that are still to come): the file is here and what its entry says, or pip can fetch it.

    Raises:
        UserError: it is not, or something that it needs is missing; says what to do.
    """
    check_early(f"{key}.early", source.early, commits=False)
    if reader_is_missing():
        raise UserError(f"{key}: {EXTRA}")
    file = file_of(source, root)
    if not isinstance(source, GgufSource) and not file.is_file():
        first = parts_of(source.model_dump())[0]
        if pip_is_missing():
            raise UserError(
                f"{key}: pip, which downloads {pin_of(first)}, is not in this environment: python -m ensurepip"
            )
        numbers = numbers_of(model.architecture)
        # Wheel and file, at 4 to 8 bits a number, and the converted model.
        return numbers, 2 * numbers + numbers * (4 if model.dtype == "float32" else 2)
    checked_sum(f"{key}: {file}", file, source.sha256)
    header = check_gguf(f"{key}: {file}", file)
    if (family := FAMILIES[header.architecture]) != model.family:
        raise UserError(f"{key}: {file} is a {family} model; its entry's family is {model.family!r}")
    return header.numbers, header.numbers * (4 if model.dtype == "float32" else 2)


def config_of_file(key: str, source: FileSource, root: Path) -> dict[str, Any]:
    """What the model's config.json will say, of a file that is here."""
    file = file_of(source, root)
    return config_in(check_gguf(f"{key}: {file}", file))


def numbers_of(architecture: Mapping[str, Any]) -> int:
    """About how many numbers a model has of which only the sizes are known that params.yaml states."""
    said = {key: value for key, value in architecture.items() if type(value) is int}
    width, layers, heads = (said.get(size, 0) for size in SIZES)
    head = said.get("head_dim", width // max(heads, 1))
    attention = 2 * width * head * (heads + said.get("num_key_value_heads", heads))
    ffn = 3 * width * said.get("intermediate_size", 0)
    return said.get("vocab_size", 0) * width + layers * (attention + ffn)
