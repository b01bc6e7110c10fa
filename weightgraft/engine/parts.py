"""From a family's row and a model's config to what can be grafted, and which columns of which matrix it is."""

from collections.abc import Iterator, Sequence

from torch import nn
from transformers import PreTrainedModel

from .families import Family, Leaf
from .leaves import Part, is_linear, transposed_weight
from .routes import Anatomy

LINEAR = frozenset({"q", "k", "v", "o", "gate", "up", "down", "unembed"})


def anatomy_of(model: PreTrainedModel, family: Family) -> Anatomy:
    """Components, layers and heads of a model."""
    config = model.config
    (output,) = (leaf.path for leaf in family.layer if leaf.components == ("o",))
    return Anatomy(
        family=config.model_type,
        components=family.components,
        n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads,
        n_kv_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        head_width=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        output_bias=getattr(model.get_submodule(f"{family.layers}.0.{output}"), "bias", None) is not None,
    )


def leaves_of(family: Family, anatomy: Anatomy) -> Iterator[tuple[str, Leaf, dict[str, int], bool]]:
    """Every weight-bearing module: (path, row of the table, the place in a serving of each of its components,
    whether it belongs to the readout)."""
    trunk = {slot: place for place, slot in enumerate(anatomy.trunk)}
    for leaf in family.embed:
        yield leaf.path, leaf, {"embed": trunk["embed", -1]}, False
    for layer in range(anatomy.n_layers):
        for leaf in family.layer:
            places = {name: trunk[name, layer] for name in leaf.components}
            yield f"{family.layers}.{layer}.{leaf.path}", leaf, places, False
    for place, leaf in enumerate((family.final_norm, family.unembed)):
        yield leaf.path, leaf, {leaf.components[0]: place}, True


def check_paths(model: PreTrainedModel, paths: Sequence[str]) -> None:
    """Do a family's paths lead to every weight of a model? A weight beside them would stay the recipient's in silence.

    Raises ValueError that names the first path without a module, or the first weight outside the paths.
    """
    family = model.config.model_type
    modules = dict(model.named_modules(remove_duplicate=False))
    for path in paths:
        if path not in modules:
            raise ValueError(
                f"recipient: this {family} has no module {path}, where its family has weights; "
                "grafting knows no such variant of the architecture"
            )
    known = {*paths}
    for key, _ in model.named_parameters(remove_duplicate=False):
        owner = key.rpartition(".")[0]
        if not any(owner == path or owner.startswith(f"{path}.") for path in _above(owner) & known):
            raise ValueError(
                f"recipient: {key} belongs to no component of {family}; grafting knows no such variant of the architecture"
            )


def _above(path: str) -> set[str]:
    """A module path and those of the modules it lies in."""
    steps = path.split(".")
    return {".".join(steps[:end]) for end in range(1, len(steps) + 1)}


def after_last_attention(family: Family, anatomy: Anatomy) -> dict[str, str]:
    """Modules of the last layer that see one token at a time, after the last attention: the path of each leaf in them,
    and the path of the whole: o is one itself, the FFN's leaves lie in one."""
    layer = f"{family.layers}.{anatomy.n_layers - 1}"
    wholes = {}
    for leaf in family.layer:
        if set(leaf.components) <= {"o", "gate", "up", "down"}:
            whole = leaf.path if leaf.components == ("o",) else leaf.path.split(".")[0]
            wholes[f"{layer}.{leaf.path}"] = f"{layer}.{whole}"
    return wholes


def linear_parts(
    path: str, leaf: Leaf, module: nn.Module, slots: dict[str, int], anatomy: Anatomy
) -> tuple[list[Part], list[Part]] | None:
    """The columns of a linear module: (component by component, head by head); None for norms and embeddings.

    slots: where a serving holds each of its components. Raises ValueError for another kind of linear module.
    """
    if leaf.components[0] not in LINEAR or "_norm" in leaf.path:
        return None
    if not is_linear(module):
        raise ValueError(
            f"recipient: {path} is a {type(module).__module__}.{type(module).__name__}; "
            "grafting needs torch's Linear or transformers' Conv1D, neither quantized nor wrapped by peft"
        )
    outputs, width = transposed_weight(module)[0].shape[1], anatomy.head_width
    if leaf.components == ("o",):
        heads = [Part(slots["o"], head, (_span(head, width),), "inputs") for head in range(anatomy.n_heads)]
        bias = [Part(slots["o"], anatomy.n_heads, (), "bias")] if anatomy.output_bias else []
        return [Part(slots["o"], None, ((0, outputs),))], heads + bias
    if not set(leaf.components) <= {"q", "k", "v"}:
        size = outputs // len(leaf.components)
        return [
            Part(slots[name], None, (_span(place, size),)) for place, name in enumerate(leaf.components)
        ], []
    wholes, heads, start = [], [], 0
    for place, name in enumerate(leaf.components):
        n_parts, n_fused = anatomy.parts(name), len(leaf.components)
        if leaf.interleaved:
            spans = [_span(head * n_fused + place, width) for head in range(n_parts)]
        else:
            spans = [(start + head * width, start + (head + 1) * width) for head in range(n_parts)]
            start += n_parts * width
        wholes.append(Part(slots[name], None, tuple(spans)))
        heads.extend(Part(slots[name], head, (span,)) for head, span in enumerate(spans))
    return wholes, heads


def _span(place: int, size: int) -> tuple[int, int]:
    return place * size, (place + 1) * size
