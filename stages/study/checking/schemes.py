"""What an experiment of params.yaml may say about schemes: written out, named, or generated; faults in one line."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from stages.evaluation.experiments import GENERATORS
from stages.study.faults import Section, choices, parsed
from stages.study.schema import Count, Experiment, Name
from weightgraft.errors import UserError

Texts = Annotated[list[str], Field(min_length=1)]
Windows = Annotated[list[Count], Field(min_length=1)]


class Grid(Section):
    positions: Texts
    components: Texts
    layers: Texts


class LayerComponent(Section):
    positions: Texts
    windows: Windows


class Heads(Section):
    positions: Texts
    components: Texts


class PositionLayer(Section):
    positions: Texts
    windows: Windows
    cumulative: bool


class Without(Grid):
    of: str


class At(Section):
    positions: Texts


class RandomPositions(Section):
    like: Texts


class Donors(Section):
    positions: Texts
    donors: Annotated[dict[str, Name], Field(min_length=1)]


class KnockOuts(Section):
    schemes: Texts
    layers: Texts


class RandomComponents(Section):
    positions: Texts
    like: Texts
    layers: Texts


# The keys of each kind of generated schemes, which are the arguments of its function in experiments.py.
KINDS: dict[str, type[Section]] = {
    "grid": Grid,
    "layer_component": LayerComponent,
    "heads": Heads,
    "position_layer": PositionLayer,
    "unembeddings": At,
    "without": Without,
    "random_positions": RandomPositions,
    "random_components": RandomComponents,
    "donors": Donors,
    "knock_outs": KnockOuts,
    "patches": At,
}
assert {*KINDS} == {*GENERATORS, "patches"}


def check_schemes(name: str, experiment: Experiment) -> None:
    """`schemes` is a mapping name -> notation, or a list of notations and of {generate: kind, ...}.

    Raises:
        UserError: it is not; names the entry.
    """
    key, schemes = f"experiments.{name}.schemes", experiment.schemes
    if not isinstance(schemes, (list, dict)) or not schemes:
        raise UserError(
            f"{key} is {schemes!r}; valid: a list of notations and of {{generate: ...}}, or names with notations"
        )
    if isinstance(schemes, dict):
        for scheme, notation in schemes.items():
            if not isinstance(scheme, str) or not isinstance(notation, str):
                raise UserError(f"{key}.{scheme} is {notation!r}; valid: a scheme's notation")
        return
    for number, entry in enumerate(schemes):
        if not isinstance(entry, str):
            _check_generated((key, number), entry)


def _check_generated(key: tuple, entry: Any) -> None:
    where = ".".join(str(part) for part in key)
    if not isinstance(entry, Mapping) or "generate" not in entry:
        raise UserError(f"{where} is {entry!r}; valid: a scheme's notation, or {{generate: ...}}")
    kind = entry["generate"]
    if kind not in KINDS:
        raise UserError(f"{where}.generate is {kind!r}; {choices(kind, KINDS)}")
    parsed(KINDS[kind], {name: value for name, value in entry.items() if name != "generate"}, key)
