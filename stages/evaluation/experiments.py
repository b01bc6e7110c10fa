"""From an experiment of params.yaml to the cases it evaluates: schemes written out, or generated for a model's layers and heads.

Plain Python without torch, so that check_params expands every experiment for every model before any work.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from weightgraft.engine.notation import UNLAYERED, layer_numbers
from weightgraft.engine.routes import Anatomy, Slot
from weightgraft.engine.schemes import RECIPIENT, Graft, Scheme, parse_scheme

SIZE_TOLERANCE = 0.02  # random cells have the parameters of what they stand beside within this share
ORDERS = 1000  # random orders to try for that
Entry = tuple[str, str, int]  # a scheme's name in the tables, its notation, its draw


@dataclass(frozen=True)
class Case:
    """One scheme to evaluate. draw: 0, or 1 to k for the draws of a random control, which share the scheme's name."""

    scheme: Scheme
    draw: int = 0


@dataclass(frozen=True)
class Patch:
    """Activation patching: the donor's residual stream behind some layers, copied in at some positions."""

    name: str
    positions: str
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Subject:
    """What schemes are generated for. donor: serves where a notation names none, and alone makes up SFT.

    cell_sizes: the number of parameters of every (component, layer) that holds a matrix. draws, seed: of random controls.
    """

    anatomy: Anatomy
    donor: str
    cell_sizes: Mapping[Slot, int]
    draws: int
    seed: int


def cases(experiment: Mapping[str, Any], subject: Subject) -> list[Case]:
    """The schemes of an experiment, in its order.

    Raises:
        ValueError: a notation that cannot be read, or a layer, window or component that the model does not have.
    """
    schemes = experiment["schemes"]
    if isinstance(schemes, Mapping):
        entries: list[Entry] = [(name, notation, 0) for name, notation in schemes.items()]
    else:
        entries = [entry for written in schemes for entry in _entries(written, subject)]
    return [
        Case(parse_scheme(notation, donor=subject.donor, name=name), draw) for name, notation, draw in entries
    ]


def _entries(written: str | Mapping[str, Any], subject: Subject) -> list[Entry]:
    if isinstance(written, str):
        return [(written, written, 0)]
    settings = dict(written)
    kind = settings.pop("generate")
    return [] if kind == "patches" else GENERATORS[kind](subject, **settings)


def generated(experiment: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """The entries of an experiment that ask for one kind of generated schemes."""
    schemes = experiment["schemes"]
    listed = [] if isinstance(schemes, Mapping) else schemes
    return [entry for entry in listed if not isinstance(entry, str) and entry.get("generate") == kind]


def patches(experiment: Mapping[str, Any], n_layers: int) -> list[Patch]:
    """E7: for each position set, every layer alone, all layers together, and `late`, the last layer but one, and `last` under names
    that are the same in models of any depth (behind the last one only the final norm and the unembedding are left).
    """
    late, last = str(max(0, n_layers - 2)), str(n_layers - 1)
    layers = {**{number: number for number in windows(n_layers, 1)}, "all": "all", "late": late, "last": last}
    return [
        Patch(f"patch {positions}[{name}]", positions, tuple(layer_numbers(numbers, n_layers)))
        for entry in generated(experiment, "patches")
        for positions in entry["positions"]
        for name, numbers in layers.items()
    ]


def random_set(name: str, draw: int) -> str:
    """The name of a position set that was drawn at random to be as large as another."""
    return f"{name}_random_{draw}"


def random_like(experiment: Mapping[str, Any]) -> list[str]:
    """The position sets that get random ones of their size in this experiment."""
    return [name for entry in generated(experiment, "random_positions") for name in entry["like"]]


def windows(n_layers: int, size: int) -> list[str]:
    """Layer texts of all windows of some size: 3 is one layer, 3-4 a window of two.

    Raises:
        ValueError: the model has fewer layers.
    """
    if size > n_layers:
        raise ValueError(f"windows of {size} layers do not exist; the model has {n_layers} layers")
    return [f"{first}-{first + size - 1}" if size > 1 else f"{first}" for first in range(n_layers - size + 1)]


def _grid(
    subject: Subject, positions: Sequence[str], components: Sequence[str], layers: Sequence[str]
) -> list[Entry]:
    """E3: groups of components in parts of the layers."""
    names = [
        f"{component}@{place}[{part}]" for place in positions for part in layers for component in components
    ]
    return [(name, name, 0) for name in names]


def _layer_component(subject: Subject, positions: Sequence[str], windows: Sequence[int]) -> list[Entry]:
    """Every component of the family in every window of layers."""
    layered = [name.upper() for name in subject.anatomy.components if name not in UNLAYERED]
    return _grid(subject, positions, layered, _windows(subject, windows))


def _windows(subject: Subject, sizes: Iterable[int]) -> list[str]:
    return [text for size in sizes for text in windows(subject.anatomy.n_layers, size)]


def _heads(subject: Subject, positions: Sequence[str], components: Sequence[str]) -> list[Entry]:
    """Single heads in single layers."""
    heads = [f"{{{head}}}" for head in range(subject.anatomy.n_heads)]
    return _grid(
        subject, positions, [name + head for name in components for head in heads], _windows(subject, [1])
    )


def _position_layer(
    subject: Subject, positions: Sequence[str], windows: Sequence[int], cumulative: bool
) -> list[Entry]:
    """The whole model in windows of layers. cumulative: also from the first layer on, and up to the last one."""
    parts, last = _windows(subject, windows), subject.anatomy.n_layers - 1
    if cumulative:
        parts += [f"0-{layer}" for layer in range(1, last + 1)] + [
            f"{layer}-{last}" for layer in range(1, last)
        ]
    names = [f"{place}[{part}]" for place in positions for part in dict.fromkeys(parts)]
    return [(name, name, 0) for name in names]


def _unembeddings(subject: Subject, positions: Sequence[str]) -> list[Entry]:
    """E5: the unembedding as grafted, the recipient's always, the donor's always."""
    variants = {
        "": "",
        " | PRE unembed": ", recipient:UNEMBED@all",
        " | SFT unembed": f", {subject.donor}:UNEMBED@all",
    }
    return [(place + name, place + graft, 0) for place in positions for name, graft in variants.items()]


def _without(
    subject: Subject, of: str, positions: Sequence[str], components: Sequence[str], layers: Sequence[str]
) -> list[Entry]:
    """What a scheme grafts, but for some components at some positions in parts of the layers, which stay the recipient's."""
    name, whole = ("SFT", "all") if of == "all" else (of, of)
    return [
        (f"{name} except {cell}", f"{whole}, {RECIPIENT}:{cell}", 0)
        for cell, _, _ in _grid(subject, positions, components, layers)
    ]


def _random_positions(subject: Subject, like: Sequence[str]) -> list[Entry]:
    """As many tokens as a position set has, drawn anew for every fact and template (prompts.py)."""
    return [
        (f"{name}_random", random_set(name, draw), draw) for name in like for draw in _draws(subject.draws)
    ]


def _donors(subject: Subject, positions: Sequence[str], donors: Mapping[str, str]) -> list[Entry]:
    """The same positions grafted from several donors, each by a name of its own."""
    return [
        (f"{place} | {name}", f"{donor}:{place}", 0) for name, donor in donors.items() for place in positions
    ]


UNCUT = "none"  # among the layers of knock_outs


def _knock_outs(subject: Subject, schemes: Sequence[str], layers: Sequence[str]) -> list[Entry]:
    """Schemes in which LT does not see FE's keys and values in some layers; in none of them, too."""
    return [
        (f"{scheme} | cut {part}", scheme if part == UNCUT else f"{scheme}, cut LT<-FE[{part}]", 0)
        for scheme in schemes
        for part in layers
    ]


def _draws(number: int) -> range:
    return range(1, number + 1)


def _random_components(
    subject: Subject, positions: Sequence[str], like: Sequence[str], layers: Sequence[str]
) -> list[Entry]:
    """Random (component, layer) cells with the parameter count of some components in some layers."""
    entries = []
    for place in positions:
        for part in layers:
            for components in like:
                name = f"{components}_random@{place}[{part}]"
                wanted = Graft(positions=place, components=components, layers=part, donor=subject.donor)
                numbers = set(layer_numbers(part, subject.anatomy.n_layers))
                size = sum(
                    size
                    for (component, layer), size in subject.cell_sizes.items()
                    if component in wanted.component_set and layer in numbers
                )
                for draw in _draws(subject.draws):
                    cells = random_cells(
                        subject.cell_sizes, size, random.Random(f"{subject.seed} {name} {draw}")
                    )
                    entries.append((name, _notation(cells, place), draw))
    return entries


def random_cells(sizes: Mapping[Slot, int], wanted: int, rng: random.Random) -> list[Slot]:
    """Cells in random order up to a total within SIZE_TOLERANCE of the wanted one; an order that misses it is drawn again.

    Raises:
        ValueError: no order hits it.
    """
    for _ in range(ORDERS):
        order = rng.sample(sorted(sizes), len(sizes))
        for number, total in enumerate(accumulate(sizes[cell] for cell in order), start=1):
            if wanted and abs(total - wanted) <= SIZE_TOLERANCE * wanted:
                return order[:number]
    raise ValueError(f"no random cells have {wanted} parameters within {SIZE_TOLERANCE:.0%}")


def _notation(cells: Iterable[Slot], place: str) -> str:
    layers: dict[str, list[str]] = {}
    for component, layer in sorted(cells):
        layers.setdefault(component, []).append(str(layer))
    return ", ".join(f"{component}@{place}[{','.join(numbers)}]" for component, numbers in layers.items())


GENERATORS: dict[str, Callable[..., list[Entry]]] = {
    "grid": _grid,
    "layer_component": _layer_component,
    "heads": _heads,
    "position_layer": _position_layer,
    "unembeddings": _unembeddings,
    "without": _without,
    "random_positions": _random_positions,
    "random_components": _random_components,
    "donors": _donors,
    "knock_outs": _knock_outs,
}
