"""The cube of a prompt: which model serves each token, layer and component under a scheme, and what a click makes of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from weightgraft.engine.routes import Anatomy, Owner, Slot, resolve, serving
from weightgraft.engine.schemes import Scheme

Cube = tuple[tuple[Owner, ...], ...]  # [token][slot]; slots in the order of slots_of
READOUT = frozenset({"final_norm", "unembed"})


def slots_of(anatomy: Anatomy) -> tuple[Slot, ...]:
    return (*anatomy.trunk, *anatomy.readout)


def row_of(slot: Slot) -> str:
    """The row of the grid, as in the map of `weightgraft inspect`: embed, a layer's number, readout."""
    component, layer = slot
    return "readout" if component in READOUT else component if component == "embed" else str(layer)


def cube_of(
    scheme: Scheme,
    positions: Mapping[str, Collection[int]],
    n_tokens: int,
    owners: Mapping[str, int],
    anatomy: Anatomy,
) -> Cube:
    """Who serves what, by the engine's own rules. owners: the number of each model, the recipient's is 0.

    Raises ValueError for a donor, component, layer or head that the models do not have.
    """
    resolved = resolve([scheme], owners, anatomy)
    kinds = [
        frozenset(name for name in scheme.position_sets if token in positions[name])
        for token in range(n_tokens)
    ]
    served = {
        kind: sum(serving(scheme, kind, owners, resolved, anatomy), ()) for kind in dict.fromkeys(kinds)
    }
    return tuple(served[kind] for kind in kinds)


def toggled(
    cube: Cube,
    tokens: Collection[int],
    rows: Collection[str],
    components: Collection[str],
    owner: int,
    anatomy: Anatomy,
) -> Cube:
    """The components of some rows at some tokens given to `owner`; back to the recipient where all of them were its own."""
    touched = {
        place
        for place, slot in enumerate(slots_of(anatomy))
        if row_of(slot) in rows and slot[0] in components
    }
    own = all(cube[token][place] == owner for token in tokens for place in touched)
    now = 0 if own else owner
    return tuple(
        tuple(now if place in touched else before for place, before in enumerate(served))
        if token in tokens
        else served
        for token, served in enumerate(cube)
    )


def lit_cells(cube: Cube, donors: Sequence[str], anatomy: Anatomy) -> Iterator[dict[str, Any]]:
    """The cells of the grid in which a donor serves something: row, token, the share of its components (some heads count as a
    part of one), the donor that serves most there, and for each donor its components."""
    slots = slots_of(anatomy)
    places: dict[str, list[int]] = {}
    for place, slot in enumerate(slots):
        places.setdefault(row_of(slot), []).append(place)
    for token, served in enumerate(cube):
        for row, inside in places.items():
            of: dict[str, dict[str, float]] = {}
            for place in inside:
                for number, donor in enumerate(donors, start=1):
                    if part := _part(served[place], number):
                        of.setdefault(donor, {})[slots[place][0]] = part
            if of:
                shares = {donor: sum(parts.values()) for donor, parts in of.items()}
                yield {
                    "row": row,
                    "token": token,
                    "share": round(sum(shares.values()) / len(inside), 4),
                    "donor": max(shares, key=shares.__getitem__),
                    "components": {
                        donor: [name if part == 1 else f"{name} (some heads)" for name, part in parts.items()]
                        for donor, parts in of.items()
                    },
                }


def _part(owner: Owner, number: int) -> float:
    if isinstance(owner, tuple):
        return owner.count(number) / len(owner)
    return float(owner == number)
