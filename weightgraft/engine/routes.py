"""Routes: for every token of a prompt under a scheme, which model serves each component of each layer.

A *serving* is the answer for one token: one owner for each slot, that is for each (component, layer). Owner 0 is
the recipient, the donors follow. Where grafts name heads, an entry is a tuple with one owner a head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from .notation import UNLAYERED, contains, layer_numbers, named_components, parse_positions
from .schemes import Graft, Scheme

Owner = int | tuple[int, ...]
Serving = tuple[Owner, ...]
Slot = tuple[str, int]  # (component, layer); what belongs to no layer has layer -1


@dataclass(frozen=True)
class Anatomy:
    """What of a model can be grafted. output_bias: whether o has a bias, which then is its last part."""

    family: str
    components: tuple[str, ...]
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_width: int
    output_bias: bool

    @cached_property
    def trunk(self) -> tuple[Slot, ...]:
        """The slots that make hidden states."""
        layered = [name for name in self.components if name not in UNLAYERED]
        return (("embed", -1), *((name, layer) for layer in range(self.n_layers) for name in layered))

    @cached_property
    def readout(self) -> tuple[Slot, ...]:
        """The slots that make logits from hidden states."""
        return (("final_norm", -1), ("unembed", -1))

    def parts(self, component: str) -> int:
        """Into how many separately served parts a component with heads falls."""
        return {"q": self.n_heads, "o": self.n_heads + self.output_bias}.get(component, self.n_kv_heads)

    def parts_of_heads(self, component: str, heads: Sequence[int]) -> set[int]:
        """The parts that belong to some query heads: for k and v, the key/value heads that serve them."""
        shared = self.n_heads // self.n_kv_heads if component in ("k", "v") else 1
        return {head // shared for head in heads}


def resolve(
    schemes: Sequence[Scheme], owners: Mapping[str, int], anatomy: Anatomy
) -> dict[Graft, tuple[Slot, ...]]:
    """The slots each graft takes.

    Raises ValueError for a donor, component, layer (of a cut too) or head that the models do not have, naming the scheme.
    """
    resolved = {}
    for scheme in schemes:
        for graft in scheme.grafts:
            if graft.donor not in owners:
                known = ", ".join(owners)
                raise ValueError(f"scheme {scheme.name!r}: unknown donor {graft.donor!r}; known: {known}")
            try:
                resolved[graft] = _slots(graft, anatomy)
            except ValueError as error:
                raise ValueError(f"scheme {scheme.name!r}: {error}") from None
        for cut in scheme.cuts:
            try:
                layer_numbers(str(cut.layers), anatomy.n_layers)
            except ValueError as error:
                raise ValueError(f"scheme {scheme.name!r}: {error}") from None
    return resolved


def _slots(graft: Graft, anatomy: Anatomy) -> tuple[Slot, ...]:
    if graft.heads is not None and max(graft.heads) >= anatomy.n_heads:
        last = anatomy.n_heads - 1
        raise ValueError(
            f"head {max(graft.heads)} does not exist; this {anatomy.family} has heads 0 to {last}"
        )
    members, layers = graft.component_set, set(layer_numbers(str(graft.layers), anatomy.n_layers))
    taken = tuple(
        (component, layer)
        for component, layer in (*anatomy.trunk, *anatomy.readout)
        if component in members and (layer in layers or component in UNLAYERED)
    )
    if missing := sorted(named_components(str(graft.components)) - set(anatomy.components)):
        has = ", ".join(anatomy.components)
        raise ValueError(f"{anatomy.family} has no component {missing[0]!r}; it has {has}")
    return taken


def serving(
    scheme: Scheme,
    memberships: frozenset[str],
    owners: Mapping[str, int],
    resolved: Mapping[Graft, Sequence[Slot]],
    anatomy: Anatomy,
) -> tuple[Serving, Serving]:
    """Who serves a token that belongs to the position sets `memberships`: (trunk, readout) servings.

    owners: the number of each model, the recipient's is 0. Later grafts override earlier ones.
    """
    served: dict[Slot, Owner] = dict.fromkeys((*anatomy.trunk, *anatomy.readout), 0)
    for graft in scheme.grafts:
        if contains(parse_positions(graft.positions), memberships):
            for slot in resolved[graft]:
                served[slot] = _overridden(served[slot], slot[0], graft.heads, owners[graft.donor], anatomy)
    return tuple(served[slot] for slot in anatomy.trunk), tuple(served[slot] for slot in anatomy.readout)


def _overridden(
    current: Owner, component: str, heads: Sequence[int] | None, owner: int, anatomy: Anatomy
) -> Owner:
    if heads is None:
        return owner
    parts = list(current) if isinstance(current, tuple) else [current] * anatomy.parts(component)
    for part in anatomy.parts_of_heads(component, heads):
        parts[part] = owner
    return parts[0] if len(set(parts)) == 1 else tuple(parts)


def all_from(owner: int, anatomy: Anatomy) -> tuple[Serving, Serving]:
    """(trunk, readout) servings of a token that one model serves whole."""
    return (owner,) * len(anatomy.trunk), (owner,) * len(anatomy.readout)
