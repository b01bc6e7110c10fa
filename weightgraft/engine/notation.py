"""The scheme notation: position sets, component lists, layer ranges, and the reader of all of them.

    FE+LT                                       whole model, all layers, at the first entity and the last token
    (FE+LT)^C   FE^C                            every position that is not in the set
    O+FFN@LT[second_half]                       some components, in some layers
    task:ATTN@FE, relation:O+FFN@LT[2/2]        several grafts, each naming its donor; a later one overrides
    ATTN+O{0,3}@LT                              query heads 0 and 3 (and the key/value heads that serve them)
    FE+LT, cut LT<-FE[second_half]              and LT's attention to FE cut there; `cut LT<-FE` alone: in PRE
    PRE   SFT   all                             nothing grafted; everything grafted; everything as a position set

Component names may be written in capitals, groups in small letters; position sets are as the prompts name them.
"""

from collections.abc import Callable
from functools import lru_cache

from .words import NotationError, shown, tokens_of

COMPONENTS = (
    "embed",
    "attn_norm",
    "q",
    "k",
    "v",
    "o",
    "mlp_norm",
    "gate",
    "up",
    "down",
    "final_norm",
    "unembed",
)
UNLAYERED = frozenset({"embed", "final_norm", "unembed"})  # they belong to no layer
HEADED = frozenset({"q", "k", "v", "o"})  # they can be grafted head by head
GROUPS = {
    "all": COMPONENTS,
    "ATTN": ("q", "k", "v"),
    "FFN": ("gate", "up", "down"),
    "NORM": ("attn_norm", "mlp_norm", "final_norm"),
}
# The paper writes one matrix of the FFN as FFN-UP.
COMPONENT_NAMES = (
    {name.lower(): (name,) for name in COMPONENTS}
    | {name.lower(): members for name, members in GROUPS.items()}
    | {f"ffn-{name}": (name,) for name in GROUPS["FFN"]}
)
PARTITIONS = {"half": 2, "quarter": 4, "eighth": 8}
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
LAYER_PARTS = {
    f"{name}_{unit}": (part, parts)
    for unit, parts in PARTITIONS.items()
    for part in range(parts)
    for name in (ORDINALS[part], *(("last",) if part == parts - 1 else ()))
}
RESERVED = frozenset({"all", "PRE", "SFT", "C"})  # no position set may be named so
MOST_LAYERS = 10_000  # more than any model has
DEEPEST = 100  # brackets in brackets


@lru_cache(maxsize=4096)
def parse_positions(text: str) -> tuple:
    """A position expression as nested tuples: ("set", name), ("union", a, b, ...), ("not", a), ("all",)."""
    reader = Reader(text)
    expression = reader.positions()
    reader.expect_end("'+', '^C' or the end")
    return expression


def parse_components(text: str) -> frozenset[str]:
    """Components and groups joined by `+`, groups expanded: `O+FFN` -> {o, gate, up, down}."""
    reader = Reader(text)
    members = reader.components()
    reader.expect_end("'+' and another component, or the end")
    return members


def named_components(text: str) -> frozenset[str]:
    """The components that a text names by themselves and not as members of a group."""
    words = (COMPONENT_NAMES[word] for word in text.lower().split("+"))
    return frozenset(members[0] for members in words if len(members) == 1)


def contains(expression: tuple, memberships: frozenset[str]) -> bool:
    """Whether a token that belongs to these position sets lies in the position expression."""
    kind, *rest = expression
    if kind == "union":
        return any(contains(part, memberships) for part in rest)
    return kind == "all" or (rest[0] in memberships if kind == "set" else not contains(rest[0], memberships))


def layer_numbers(text: str, n_layers: int | None = None) -> range | tuple[int, ...]:
    """The layers a layer text names, in a model of n_layers layers; None only checks the text.

    Part i of n covers layers floor(i L / n) up to floor((i + 1) L / n): for every L, the parts of a
    partition cover each layer once (some are empty where L < n).
    Raises NotationError for text that cannot be read, ValueError for a layer the model does not have.
    """
    reader = Reader(text)
    named = reader.layers()
    reader.expect_end("',' and another layer, or the end")
    if isinstance(named, tuple):
        part, parts = named
        return range(part * (n_layers or 0) // parts, (part + 1) * (n_layers or 0) // parts)
    if n_layers is not None and max(named) >= n_layers:
        raise ValueError(
            f"layers {text!r}: layer {max(named)} does not exist; the model has layers 0 to {n_layers - 1}"
        )
    return tuple(named)


def set_names(expression: tuple) -> frozenset[str]:
    """The position sets that a position expression names."""
    kind, *rest = expression
    return frozenset(rest) if kind == "set" else frozenset().union(*(set_names(part) for part in rest))


class Reader:
    """Recursive descent over the tokens of one notation text."""

    def __init__(self, text: str):
        self.text, self.tokens, self.at, self.depth = text, tokens_of(text), 0, 0

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)][1]

    def fail(self, expected: str):
        _, value, position = self.tokens[self.at]
        raise NotationError(self.text, position, f"found {shown(value)}, expected {expected}")

    def accept(self, *values: str) -> str | None:
        kind, value, _ = self.tokens[self.at]
        if kind == "end" or value not in values:
            return None
        self.at += 1
        return value

    def expect(self, value: str, expected: str):
        if not self.accept(value):
            self.fail(expected)

    def expect_end(self, expected: str):
        if self.tokens[self.at][0] != "end":
            self.fail(expected)

    def take(self, kind: str, expected: str) -> str:
        if self.tokens[self.at][0] != kind:
            self.fail(expected)
        self.at += 1
        return self.tokens[self.at - 1][1]

    def graft(self, donor: str | None) -> dict:
        """One graft as keyword arguments, and `start`, the character where it begins."""
        start = self.tokens[self.at][2]
        if self.peek(1) == ":":
            donor = self.take("name", "a donor's name")
            self.at += 1
        elif donor is None:
            raise NotationError(
                self.text, start, "no donor: write 'donor:' in front, or give a default donor"
            )
        components, heads = "all", None
        if self._at_sign_ahead():
            components = self._read(self.components)
            heads = self._heads()
            self.expect(
                "@", "'+', '{' or '@'" if heads is None else "'@': heads stand after the last component"
            )
        positions = "all" if self.accept("SFT") else self._read(self.positions)
        return {
            "start": start,
            "positions": positions,
            "components": components,
            "layers": self._layer_part(),
            "donor": donor,
            "heads": heads,
        }

    def at_cut(self) -> bool:
        """Whether a cut is next: the word `cut` and a position expression (a position set may be named so too)."""
        return self.peek() == "cut" and (self.peek(1) == "(" or self.tokens[self.at + 1][0] == "name")

    def cut(self) -> dict:
        """One cut as keyword arguments, and `start`, the character where it begins."""
        start = self.tokens[self.at][2]
        self.at += 1
        queries = self._read(self.positions)
        self.expect("<-", "'+', '^C' or '<-' and what is not seen, as in cut LT<-FE")
        keys = self._read(self.positions)
        return {"start": start, "queries": queries, "keys": keys, "layers": self._layer_part()}

    def _layer_part(self) -> str:
        if not self.accept("["):
            return "all"
        layers = self._read(self.layers)
        self.expect("]", "',' or ']'")
        return layers

    def _at_sign_ahead(self) -> bool:
        """Whether this graft has a component part: an `@` before the next comma outside braces."""
        depth = 0
        for _, value, _ in self.tokens[self.at :]:
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(value, 0)
            if value == "@" or (value == "," and depth == 0):
                return value == "@"
        return False

    def _read(self, part: Callable[[], object]) -> str:
        """The text of what a method reads, without spaces."""
        first = self.at
        part()
        return "".join(value for _, value, _ in self.tokens[first : self.at])

    def _heads(self) -> tuple[int, ...] | None:
        if not self.accept("{"):
            return None
        heads = [int(self.take("number", "the number of a query head"))]
        while self.accept(","):
            heads.append(int(self.take("number", "the number of a query head")))
        self.expect("}", "',' or '}'")
        return tuple(heads)

    def components(self) -> frozenset[str]:
        members: frozenset[str] = frozenset()
        expected = f"a component ({', '.join(COMPONENTS)}) or group ({', '.join(GROUPS)})"
        while True:
            hyphened = self.peek(1) == "-"
            word = self.peek() + ("-" + self.peek(2) if hyphened else "")
            if word.lower() not in COMPONENT_NAMES:
                self.fail(expected)
            self.at += 3 if hyphened else 1
            members |= frozenset(COMPONENT_NAMES[word.lower()])
            if not self.accept("+"):
                return members

    def positions(self) -> tuple:
        parts = [self._position()]
        while self.accept("+"):
            parts.append(self._position())
        return parts[0] if len(parts) == 1 else ("union", *parts)

    def _position(self) -> tuple:
        if self.accept("("):
            self.depth += 1
            if self.depth > DEEPEST:
                self.fail(f"at most {DEEPEST} brackets in one another")
            part = self.positions()
            self.expect(")", "'+', '^C' or ')'")
            self.depth -= 1
        elif self.accept("all"):
            part = ("all",)
        elif self.peek() in RESERVED:
            self.fail("a position set such as FE, LT, M, R")
        else:
            part = ("set", self.take("name", "a position set such as FE, LT, M, R, or '('"))
        complements = 0
        while self.accept("^C"):
            complements += 1
        return ("not", part) if complements % 2 else part

    def layers(self) -> tuple[int, int] | list[int]:
        """(part, parts), or a list of layer numbers."""
        if self.accept("all"):
            return 0, 1
        expected = f"all, a layer number, a range such as 3-5, a part such as 3/8, or one of {', '.join(LAYER_PARTS)}"
        if self.tokens[self.at][0] == "name":
            if self.peek() not in LAYER_PARTS:
                self.fail(expected)
            self.at += 1
            return LAYER_PARTS[self.peek(-1)]
        numbers: list[int] = []
        while True:
            first = self._layer(expected)
            if not numbers and self.accept("/"):
                parts = int(self.take("number", "the number of parts"))
                if not 1 <= first <= parts:
                    self.at -= 3
                    self.fail(f"a part from 1/{parts} to {parts}/{parts}")
                return first - 1, parts
            last = self._layer("the last layer of the range") if self.accept("-") else first
            if last < first:
                self.at -= 1
                self.fail(f"a layer from {first} on")
            numbers.extend(range(first, last + 1))
            if not self.accept(","):
                return sorted(set(numbers))

    def _layer(self, expected: str) -> int:
        layer = int(self.take("number", expected))
        if layer >= MOST_LAYERS and self.peek() != "/":
            self.at -= 1
            self.fail(f"a layer below {MOST_LAYERS}")
        return layer
