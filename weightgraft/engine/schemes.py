"""Prompts, grafts and schemes: whose weights serve which positions, components and layers.

Plain Python without torch, so that a scheme can be checked before any model is loaded. The notation is
described in notation.py; the method is the paper's section on dynamic weight grafting.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, TypeGuard

from .notation import (
    HEADED,
    RESERVED,
    UNLAYERED,
    NotationError,
    Reader,
    layer_numbers,
    named_components,
    parse_components,
    parse_positions,
    set_names,
)
from .words import MOST_NUMBERS, NAME, check_text, shown, whole_numbers

IDS = "give token ids, as in tokenizer(text)['input_ids'], of one prompt"
PLACES = (
    "give the numbers of its tokens, counted from 0, as in (1, 2); of a mask, the places where it is true"
)
HEADS = "give the numbers of query heads, counted from 0"
LAYERS = "give their numbers, counted from 0, or a text such as '0,4-6'"
RECIPIENT = "recipient"  # as a graft's donor: put the recipient's own weights back


@dataclass(frozen=True, kw_only=True)
class Graft:
    """Some components of some layers of one donor, at some positions.

    positions: a position set (`FE`), a union (`FE+LT`), a complement (`(FE+LT)^C`), or `all`.
    components: `all`, or components and groups joined by `+` (`O+FFN`); a sequence of names does as well.
    layers: `all`, a part (`second_half`, `last_quarter`, `3/8`), or layer numbers counted from 0, as
        text (`0,4-6`, ends included) or as a sequence. embed, final_norm and unembed belong to no layer:
        they are grafted only where layers is `all`. Of more parts than a model has layers some are empty:
        such a graft takes nothing.
    heads: query heads counted from 0, or None for all. q and o are then grafted for these heads, k and v
        for the key/value heads that serve them; o's bias, which belongs to no head, stays.
    Raises NotationError for a name that does not exist, ValueError for parts that contradict each other.
    """

    positions: str
    components: str | Sequence[str] = "all"
    layers: str | Sequence[int] = "all"
    donor: str
    heads: Sequence[int] | None = None

    def __post_init__(self):
        components, layers = _joined(self.components), _numbered(self.layers)
        heads = None if self.heads is None else tuple(sorted(set(whole_numbers("heads", self.heads, HEADS))))
        check_text("a graft's donor", self.donor, "sft")
        check_text("a graft's positions", self.positions, "FE+LT")
        parse_positions(self.positions)
        parse_components(components)
        layer_numbers(layers)
        # As parse_scheme would write them: spaces carry no meaning, once the text is known to be right.
        positions, components, layers = (
            "".join(text.split()) for text in (self.positions, components, layers)
        )
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "components", components)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "heads", heads)
        unlayered = sorted(named_components(components) & UNLAYERED)
        if layers != "all" and unlayered:
            raise ValueError(
                f"graft {self}: {unlayered[0]} belongs to no layer, so layers must be 'all', not {layers!r}"
            )
        if heads is not None and not self.component_set <= HEADED:
            raise ValueError(f"graft {self}: heads can be chosen for q, k, v, o only, not for {components!r}")
        if heads == ():
            raise ValueError(f"graft {self}: heads is empty; give at least one query head, or None for all")
        if heads is not None and heads[0] < 0:
            raise ValueError(f"graft {self}: head {heads[0]} does not exist; heads are counted from 0")

    @property
    def component_set(self) -> frozenset[str]:
        """The components this graft serves, groups expanded, without embed, final_norm and unembed where
        layers is not `all`."""
        members = parse_components(str(self.components))
        return members if self.layers == "all" else members - UNLAYERED

    def __str__(self) -> str:
        heads = "" if self.heads is None else "{" + ",".join(str(head) for head in self.heads) + "}"
        components = "" if self.components == "all" and not heads else f"{self.components}{heads}@"
        layers = "" if self.layers == "all" else f"[{self.layers}]"
        return f"{self.donor}:{components}{self.positions}{layers}"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Attention that is cut: in some layers, tokens at `queries` do not see the tokens before them that are at `keys`.

    queries, keys: position expressions; layers: all three as in a Graft. A token always sees itself. The softmax is over what
    is left. A target's token that is fed back does not see what the last token of its prompt does not see.
    Raises NotationError for what cannot be read.
    """

    queries: str
    keys: str
    layers: str | Sequence[int] = "all"

    def __post_init__(self):
        layers = _numbered(self.layers)
        for text in (self.queries, self.keys):
            check_text("a cut's positions", text, "FE+LT")
        parse_positions(self.queries)
        parse_positions(self.keys)
        layer_numbers(layers)
        for name, text in (("queries", self.queries), ("keys", self.keys), ("layers", layers)):
            object.__setattr__(self, name, "".join(text.split()))

    def __str__(self) -> str:
        return f"cut {self.queries}<-{self.keys}" + ("" if self.layers == "all" else f"[{self.layers}]")


@dataclass(frozen=True)
class Scheme:
    """A named list of grafts; where two grafts meet, the later one counts. No grafts: the recipient alone. And the cuts."""

    name: str
    grafts: tuple[Graft, ...] = ()
    cuts: tuple[Cut, ...] = ()

    def __post_init__(self):
        check_text("a scheme's name", self.name, "FE+LT")
        for key, kind in (("grafts", Graft), ("cuts", Cut)):
            parts = getattr(self, key)
            if not isinstance(parts, list | tuple) or not all(isinstance(part, kind) for part in parts):
                raise ValueError(
                    f"scheme {self.name!r}: its {key} are {shown(parts)}; give a tuple of {kind.__name__}s, or write the scheme "
                    "as a text and read it with parse_scheme"
                )
            object.__setattr__(self, key, tuple(parts))

    @property
    def position_sets(self) -> frozenset[str]:
        """Names of the position sets that a prompt must have for this scheme."""
        texts = [graft.positions for graft in self.grafts]
        texts += [text for cut in self.cuts for text in (cut.queries, cut.keys)]
        return frozenset().union(*(set_names(parse_positions(text)) for text in texts))

    @property
    def donors(self) -> frozenset[str]:
        """Names of the donors this scheme grafts from."""
        return frozenset(graft.donor for graft in self.grafts) - {RECIPIENT}

    def __str__(self) -> str:
        return ", ".join(str(part) for part in (*self.grafts, *self.cuts)) or "PRE"


@dataclass(frozen=True)
class Prompt:
    """One tokenized prompt.

    tokens: token ids. positions: token numbers (from 0) of each position set; LT is the last token where
    not given. target: the token ids that should follow, as tokenized together with the prompt. foil: the
    first token of a wrong answer to compare with. watched: tokens whose probability together is told. Raises ValueError for
    anything that does not fit.
    """

    tokens: Sequence[int]
    positions: Mapping[str, Sequence[int]] = field(default_factory=dict)
    target: Sequence[int] = ()
    foil: int | None = None
    watched: Sequence[int] = ()

    def __post_init__(self):
        tokens = whole_numbers("a prompt's tokens", self.tokens, IDS)
        if not tokens:
            raise ValueError("a prompt needs at least one token")
        if not isinstance(self.positions, Mapping):
            raise ValueError(
                f"positions are {shown(self.positions)}; give token numbers by names: {{'FE': (1, 2)}}"
            )
        positions: dict[str, tuple[int, ...]] = {"LT": (len(tokens) - 1,)}
        for name, given in self.positions.items():
            if not isinstance(name, str) or not re.fullmatch(NAME, name) or name in RESERVED:
                raise ValueError(
                    f"position set {shown(name)}: a name is letters, digits and _, and not one of {sorted(RESERVED)}"
                )
            members = tuple(sorted(set(whole_numbers(f"position set {name!r}", given, PLACES))))
            if not members:
                raise ValueError(
                    f"position set {name!r} is empty; leave it out where a prompt does not have it"
                )
            if members[0] < 0 or members[-1] >= len(tokens):
                raise ValueError(
                    f"position set {name!r} is {shown(members)}, outside the prompt's tokens 0 to {len(tokens) - 1}"
                )
            positions[name] = members
        watched = whole_numbers("watched tokens", self.watched, IDS)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "target", whole_numbers("a prompt's target", self.target, IDS))
        object.__setattr__(self, "watched", tuple(sorted(set(watched))))
        if self.foil is not None:
            object.__setattr__(self, "foil", *whole_numbers("a prompt's foil", [self.foil], IDS))


def check_asked(prompts: Any, schemes: Any) -> None:
    """Raises ValueError where these are no prompts and schemes in lists, naming the first that is none."""
    asked: tuple[tuple[str, Any, type, str], ...] = (
        ("prompt", prompts, Prompt, "encode_prompt(tokenizer, text, target, spans)"),
        ("scheme", schemes, Scheme, "parse_scheme(text, donor=NAME)"),
    )
    for what, values, kind, maker in asked:
        if isinstance(values, str | bytes | Mapping | kind) or not hasattr(values, "__getitem__"):
            raise ValueError(f"{what}s: {shown(values)} is no list; give a list of what {maker} makes")
        for place, value in enumerate(values):
            if not isinstance(value, kind):
                raise ValueError(f"{what} {place} is {shown(value)}; {maker} makes one")
    if not schemes:
        raise ValueError("no schemes to score")


def parse_scheme(text: str, donor: str | None = None, name: str | None = None) -> Scheme:
    """Read scheme notation (described in notation.py).

    donor: the donor of the parts that name none. name: the scheme's name; the text itself by default.
    Raises NotationError, which points at the character, and names what would have been valid there; ValueError for what is no
    text.
    """
    check_text("a scheme", text, "FE+LT")
    for what, value in (("a scheme's donor", donor), ("a scheme's name", name)):
        if value is not None:
            check_text(what, value, "sft")
    return _parsed(text, donor, name)


# A study asks many prompts and models under the same schemes; a scheme never changes.
@lru_cache(maxsize=2**14)
def _parsed(text: str, donor: str | None, name: str | None) -> Scheme:
    if text.strip() == "PRE":
        return Scheme(name or text)
    reader = Reader(text)
    grafts, cuts = [], []
    while True:
        if reader.at_cut():
            cuts.append(reader.cut())
        else:
            grafts.append(reader.graft(donor))
        if not reader.accept(","):
            break
    reader.expect_end("',' and another graft, or the end")
    return Scheme(
        name or text,
        tuple(_graft(text, **part) for part in grafts),
        tuple(Cut(queries=part["queries"], keys=part["keys"], layers=part["layers"]) for part in cuts),
    )


def _graft(text: str, start: int, **fields) -> Graft:
    """A Graft whose contradictions are reported as errors of the notation, at the character it starts."""
    try:
        return Graft(**fields)
    except ValueError as error:
        raise NotationError(text, start, str(error)) from None


def _joined(components: Any) -> str:
    """A component list as one text."""
    names: list[Any] = [*components] if _is_list(components) else [components]
    for name in names:
        check_text("a graft's component", name, "O+FFN")
    return "+".join(names)


def _numbered(layers: Any) -> str:
    """Layers as one text; each may be a number, or a range as notation writes it."""
    layers = layers.tolist() if hasattr(layers, "tolist") else layers
    if isinstance(layers, str):
        return layers
    if not _is_list(layers):
        whole_numbers("layers", layers, LAYERS)  # raises
    parts = [*islice(layers, MOST_NUMBERS + 1)]
    numbers = iter(whole_numbers("layers", [part for part in parts if not isinstance(part, str)], LAYERS))
    return ",".join(part if isinstance(part, str) else str(next(numbers)) for part in parts)


def _is_list(values: Any) -> TypeGuard[Iterable[Any]]:
    return isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
