"""What the values of params.yaml are made of: names, numbers within bounds, families, colours. Pydantic's annotated types."""

from typing import Annotated, Literal

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]  # no dots: DVC's templating takes them for nesting
Names = Annotated[list[Name], Field(min_length=1)]
# Above these bounds a library overflows, or a list fills the memory before anything can be said.
Count = Annotated[int, Field(ge=1, le=10**9)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Draws = Annotated[int, Field(ge=1, le=1000)]
Resamples = Annotated[int, Field(ge=100, le=10**6)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
# The engine's (weightgraft/engine/families.py). Models of the first five are trained here too (checking/architectures.py).
Family = Literal[
    "gpt2", "gpt_neox", "llama", "stablelm", "gemma", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "olmo3",
    "phi", "phi3", "starcoder2", "granite", "smollm3", "glm4", "cohere2",
]  # fmt: skip
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
