"""What a model of params.yaml may be built of: the arguments of its family's configuration class, and how they fit together."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stages.study.checking.sources import config_of, is_here
from stages.study.faults import Section, parsed
from stages.study.schema import Count, Model, Positive, Share
from weightgraft.engine.families import FAMILIES
from weightgraft.engine.routes import Anatomy
from weightgraft.errors import UserError

Context = Annotated[int, Field(ge=128, le=10**7)]  # tokens; the longest texts have about 100
Activation = Literal["gelu", "gelu_pytorch_tanh", "silu"]


class Gpt2Architecture(Section):
    n_embd: Count
    n_layer: Count
    n_head: Count
    n_positions: Context
    resid_pdrop: Share
    embd_pdrop: Share
    attn_pdrop: Share
    activation_function: Literal["gelu_new", "gelu_pytorch_tanh"]


class GptNeoxArchitecture(Section):
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    intermediate_size: Count
    max_position_embeddings: Context
    rotary_pct: Annotated[float, Field(gt=0, le=1)]
    use_parallel_residual: bool = True
    tie_word_embeddings: bool = False
    hidden_act: Activation = "gelu"


class LlamaArchitecture(Section):
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    intermediate_size: Count
    max_position_embeddings: Context
    tie_word_embeddings: bool
    hidden_act: Activation = "silu"


class Rope(Section):
    rope_type: Literal["default"]
    rope_theta: Positive
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)]


class StableLmArchitecture(LlamaArchitecture):
    """As Llama, but with LayerNorm in place of RMSNorm."""

    use_qkv_bias: bool
    rope_parameters: Rope


class GemmaArchitecture(Section):
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count
    intermediate_size: Count
    max_position_embeddings: Context


ARCHITECTURES: dict[str, type[Section]] = {
    "gpt2": Gpt2Architecture,
    "gpt_neox": GptNeoxArchitecture,
    "llama": LlamaArchitecture,
    "stablelm": StableLmArchitecture,
    "gemma": GemmaArchitecture,
}
# (a, b): a must be a multiple of b
DIVISIBLE = [
    ("n_embd", "n_head"),
    ("hidden_size", "num_attention_heads"),
    ("num_attention_heads", "num_key_value_heads"),
]
NEEDED = {"gpt2": ("n_embd", "n_layer", "n_head")}
NEEDED_OF_OTHERS = ("hidden_size", "num_hidden_layers", "num_attention_heads")
SIZES = ("num_key_value_heads", "head_dim", "intermediate_size", "vocab_size")
LARGEST = {
    "n_layer": 1000,
    "num_hidden_layers": 1000,
    "n_head": 1000,
    "num_attention_heads": 1000,
}  # each is a scheme


def needed_of(family: str) -> tuple[str, ...]:
    """What has to be known of a pretrained model before it is loaded."""
    return NEEDED.get(family, NEEDED_OF_OTHERS)


def is_stated(model: Model) -> bool:
    """Whether params.yaml says what has to be known: then no file has to be there."""
    return model.source is None or all(size in model.architecture for size in needed_of(model.family))


def config_with(name: str, model: Model, root: Path) -> dict[str, Any]:
    """What a pretrained model is made of: its own config says it, and what params.yaml states must be the same. Where that
    is all that has to be known of a model that is not here, nobody is asked; the model itself is checked when it is obtained.

    Raises:
        UserError: its config says otherwise.
    """
    assert model.source is not None
    stated = model.architecture
    if is_stated(model) and not is_here(model.source, root):
        return stated
    config = config_of(name, model.source, root)
    for key, value in stated.items():
        if config.get(key, value) != value:
            raise UserError(
                f"models.{name}.architecture.{key} is {value!r}; the config of its source says {config[key]!r}"
            )
    return {key: value for key, value in (config | stated).items() if value is not None}


def architecture_of(name: str, model: Model, root: Path) -> dict[str, Any]:
    """What the configuration class is given, or, of a pretrained model, what its config or params.yaml says of it.

    Raises:
        UserError: a key or value that the family does not have, or sizes that do not fit together.
    """
    key = ("models", name, "architecture")
    if model.source is None:
        if model.family not in ARCHITECTURES:
            raise UserError(
                f"models.{name}.family is {model.family!r}: a model without a source is trained here; "
                f"valid: {', '.join(ARCHITECTURES)}"
            )
        values = parsed(ARCHITECTURES[model.family], model.architecture, key).model_dump()
    else:
        values = config_with(name, model, root)
    for size in (*needed_of(model.family), *(size for size in SIZES if size in values)):
        value, most = values.get(size), LARGEST.get(size, 10**9)
        if type(value) is not int or not 1 <= value <= most:
            raise UserError(f"{'.'.join(key)}.{size} is {value!r}: a whole number is needed, 1 to {most}")
    for whole, part in DIVISIBLE:
        if whole in values and part in values and values[whole] % values[part] and "head_dim" not in values:
            raise UserError(
                f"{'.'.join(key)}.{whole} is {values[whole]}: not a multiple of {part}, {values[part]}"
            )
    return values


def check_architecture(name: str, model: Model, root: Path) -> Anatomy:
    """Sizes fit together; what of the model can be grafted. root: where the finished pipeline keeps models."""
    values = architecture_of(name, model, root)
    heads = values.get("n_head") or values["num_attention_heads"]
    width = values.get("head_dim") or (values.get("n_embd") or values["hidden_size"]) // heads
    if width % 2:
        raise UserError(
            f"models.{name}.architecture: heads of {width} numbers: rotary positions need an even width"
        )
    return Anatomy(
        family=model.family,
        components=FAMILIES[model.family].components,
        n_layers=values.get("n_layer") or values["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=values.get("num_key_value_heads") or heads,
        head_width=width,
        output_bias=_output_bias(model.family, values),
    )


def _output_bias(family: str, values: dict[str, Any]) -> bool:
    """Whether o has a bias: its family always has one, or has an entry for it."""
    if family in ("gpt2", "gpt_neox", "phi"):
        return True
    if family == "starcoder2":
        return bool(values.get("use_bias", True))
    return family != "glm4" and bool(values.get("attention_bias"))
