"""From a cube to the notation: the shortest of a few ways to write which cells are grafted."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from weightgraft.engine.notation import GROUPS, LAYER_PARTS, UNLAYERED
from weightgraft.engine.routes import Anatomy, Slot
from weightgraft.engine.schemes import RECIPIENT, parse_scheme
from weightgraft.explorer.cube import Cube, cube_of, slots_of

# As the paper writes components, in this order.
WORDS = {
    "embed": "EMBED",
    "q": "Q",
    "k": "K",
    "v": "V",
    "o": "O",
    "gate": "FFN-GATE",
    "up": "FFN-UP",
    "down": "FFN-DOWN",
    "attn_norm": "ATTN_NORM",
    "mlp_norm": "MLP_NORM",
    "final_norm": "FINAL_NORM",
    "unembed": "UNEMBED",
}
PARTS = ("first_half", "second_half", "first_quarter", "last_quarter")
MOST_WIDENED = 8  # grafts; longer notations are left as they are
MOST_NAMES = 4  # position sets in one union


@dataclass(frozen=True)
class Piece:
    """A graft before it is written. components, layers: None where there is no limit."""

    owner: int
    tokens: frozenset[int]
    components: frozenset[str] | None
    layers: frozenset[int] | None
    heads: tuple[int, ...] | None = None


def spelled(cube: Cube, sets: Mapping[str, Sequence[int]], donors: Sequence[str], anatomy: Anatomy) -> str:
    """A scheme that makes this cube of a prompt. sets: the position sets it may name beside T0, T1, ... donors: the first need
    not be named."""
    whole, heads = _without_heads(cube, anatomy)
    used = sorted({owner for served in whole for owner in served} - {0})
    if not used and not heads:
        return "PRE"
    ways: list[list[Piece]] = []
    for base in (0, *used):
        first = [Piece(base, frozenset(range(len(cube))), None, None)] if base else []
        for way in (_by_tokens, _by_slots, *(() if base else (_with_holes,))):
            rest = (piece for owner in (0, *used) if owner != base for piece in way(whole, owner, anatomy))
            ways.append([*first, *rest, *_of_heads(heads, anatomy)])

    def text(pieces: Iterable[Piece]) -> str:
        return ", ".join(_graft_text(piece, len(cube), sets, donors, anatomy) for piece in pieces)

    best = min(ways, key=lambda pieces: (len(pieces), len(text(pieces))))
    return text(_widened(best, text, cube, sets, donors, anatomy))


def _widened(
    pieces: list[Piece],
    text: Callable[[Iterable[Piece]], str],
    cube: Cube,
    sets: Mapping[str, Sequence[int]],
    donors: Sequence[str],
    anatomy: Anatomy,
) -> list[Piece]:
    """At all tokens what may stand there because others say the same or override it: `T5, all[3]` for `T5, T5^C[3]`."""
    everywhere = frozenset(range(len(cube)))
    positions = {**sets, **{f"T{token}": (token,) for token in everywhere}}
    owners = {RECIPIENT: 0} | {name: number for number, name in enumerate(donors, start=1)}
    if not 1 < len(pieces) <= MOST_WIDENED:
        return pieces
    for place, piece in enumerate(pieces):
        wider = [*pieces[:place], replace(piece, tokens=everywhere), *pieces[place + 1 :]]
        scheme = parse_scheme(text(wider), donor=donors[0])
        if cube_of(scheme, positions, len(cube), owners, anatomy) == cube:
            pieces = wider
    return pieces


def _without_heads(
    cube: Cube, anatomy: Anatomy
) -> tuple[list[tuple[int, ...]], dict[tuple[int, tuple[int, ...]], set[tuple[int, Slot]]]]:
    """(who serves each slot but for single heads, for each owner and its heads where they are grafted over that)."""
    heads: dict[tuple[int, tuple[int, ...]], set[tuple[int, Slot]]] = {}
    whole = []
    for token, served in enumerate(cube):
        line = []
        for slot, owner in zip(slots_of(anatomy), served, strict=True):
            if isinstance(owner, tuple):
                # The bias of o belongs to no head: it tells who served before heads were grafted.
                base = owner[-1] if slot[0] == "o" and anatomy.output_bias else 0
                for number in sorted(set(owner) - {base}):
                    chosen = tuple(
                        head
                        for head in range(anatomy.n_heads)
                        if all(owner[part] == number for part in anatomy.parts_of_heads(slot[0], [head]))
                    )
                    heads.setdefault((number, chosen), set()).add((token, slot))
                owner = base
            line.append(owner)
        whole.append(tuple(line))
    return whole, heads


def _of_heads(
    heads: Mapping[tuple[int, tuple[int, ...]], set[tuple[int, Slot]]], anatomy: Anatomy
) -> Iterator[Piece]:
    for (owner, chosen), members in heads.items():
        tokens_of: dict[Slot, set[int]] = {}
        for token, slot in members:
            tokens_of.setdefault(slot, set()).add(token)
        for piece in _grouped(
            {slot: frozenset(tokens) for slot, tokens in tokens_of.items()}, owner, anatomy
        ):
            yield replace(piece, heads=chosen)


def _by_tokens(whole: Sequence[Sequence[int]], owner: int, anatomy: Anatomy) -> Iterator[Piece]:
    """Tokens that are served alike together."""
    for tokens, slots, _ in _alike(whole, owner, anatomy):
        for components, layers in _boxes(slots, anatomy):
            yield Piece(owner, tokens, components, layers)


def _with_holes(whole: Sequence[Sequence[int]], owner: int, anatomy: Anatomy) -> Iterator[Piece]:
    """The same, but where little is missing the whole token, and then the recipient's weights put back: `T3, recipient:T3[2]`."""
    for tokens, slots, free in _alike(whole, owner, anatomy):
        missing = frozenset(slots_of(anatomy)) - slots
        holed = missing <= free and len(missing) < len(slots)
        if holed:
            yield Piece(owner, tokens, None, None)
        for components, layers in (
            _boxes(missing if holed else slots, anatomy) if missing or not holed else ()
        ):
            yield Piece(0 if holed else owner, tokens, components, layers)


def _alike(
    whole: Sequence[Sequence[int]], owner: int, anatomy: Anatomy
) -> Iterator[tuple[frozenset[int], frozenset[Slot], frozenset[Slot]]]:
    """(tokens, the slots that `owner` serves at them, those that the recipient serves at all of them)."""
    tokens_of: dict[frozenset[Slot], set[int]] = {}
    for token, served in enumerate(whole):
        own = frozenset(slot for slot, by in zip(slots_of(anatomy), served, strict=True) if by == owner)
        tokens_of.setdefault(own, set()).add(token)
    for slots, tokens in tokens_of.items():
        if slots:
            free = frozenset(
                slot
                for place, slot in enumerate(slots_of(anatomy))
                if all(whole[token][place] == 0 for token in tokens)
            )
            yield frozenset(tokens), slots, free


def _by_slots(whole: Sequence[Sequence[int]], owner: int, anatomy: Anatomy) -> Iterator[Piece]:
    """Slots that are served at the same tokens together."""
    tokens_of = {
        slot: frozenset(token for token, served in enumerate(whole) if served[place] == owner)
        for place, slot in enumerate(slots_of(anatomy))
    }
    yield from _grouped(tokens_of, owner, anatomy)


def _grouped(tokens_of: Mapping[Slot, frozenset[int]], owner: int, anatomy: Anatomy) -> Iterator[Piece]:
    slots_at: dict[frozenset[int], set[Slot]] = {}
    for slot, tokens in tokens_of.items():
        if tokens:
            slots_at.setdefault(tokens, set()).add(slot)
    for tokens, slots in slots_at.items():
        for components, layers in _boxes(frozenset(slots), anatomy):
            yield Piece(owner, tokens, components, layers)


def _boxes(
    slots: frozenset[Slot], anatomy: Anatomy
) -> list[tuple[frozenset[str] | None, frozenset[int] | None]]:
    """Components by layers that together are these slots, as few as two ways of grouping give."""
    if slots == frozenset(slots_of(anatomy)):
        return [(None, None)]
    components_of: dict[int, set[str]] = {}
    layers_of: dict[str, set[int]] = {}
    loose = frozenset(component for component, layer in slots if layer < 0)
    for component, layer in slots:
        if layer >= 0:
            components_of.setdefault(layer, set()).add(component)
            layers_of.setdefault(component, set()).add(layer)
    by_layer: dict[frozenset[str], set[int]] = {}
    for layer, components in components_of.items():
        by_layer.setdefault(frozenset(components), set()).add(layer)
    by_component: dict[frozenset[int], set[str]] = {}
    for component, layers in layers_of.items():
        by_component.setdefault(frozenset(layers), set()).add(component)
    ways = (
        [(components, frozenset(layers)) for components, layers in by_layer.items()],
        [(frozenset(components), layers) for layers, components in by_component.items()],
    )
    return min((_unlimited(way, loose, anatomy) for way in ways), key=len)


def _unlimited(
    boxes: Sequence[tuple[frozenset[str], frozenset[int]]], loose: frozenset[str], anatomy: Anatomy
) -> list[tuple[frozenset[str] | None, frozenset[int] | None]]:
    """Boxes of all layers without a limit, and with them what belongs to no layer."""
    layered = frozenset(anatomy.components) - UNLAYERED
    made: list[tuple[frozenset[str] | None, frozenset[int] | None]] = []
    for components, layers in sorted(boxes, key=lambda box: (sorted(box[1]), sorted(box[0]))):
        if components == layered:
            made.append((None, layers))
        elif len(layers) == anatomy.n_layers:
            made.append((components | loose, None))
            loose = frozenset()
        else:
            made.append((components, layers))
    return [(loose, None), *made] if loose else made


def _graft_text(
    piece: Piece, n_tokens: int, sets: Mapping[str, Sequence[int]], donors: Sequence[str], anatomy: Anatomy
) -> str:
    donor = "" if piece.owner == 1 else f"{(RECIPIENT, *donors)[piece.owner]}:"
    everywhere = len(piece.tokens) == n_tokens
    if piece.components is None and piece.layers is None:
        return donor + ("SFT" if everywhere else positions_text(piece.tokens, n_tokens, sets))
    layers = "" if piece.layers is None else f"[{layers_text(piece.layers, anatomy.n_layers)}]"
    heads = "" if piece.heads is None else "{" + ",".join(map(str, piece.heads)) + "}"
    components = (
        ""
        if piece.components is None
        else f"{components_text(piece.components, piece.layers is not None, anatomy)}{heads}@"
    )
    return f"{donor}{components}{positions_text(piece.tokens, n_tokens, sets)}{layers}"


def components_text(components: frozenset[str], some_layers: bool, anatomy: Anatomy) -> str:
    """Groups where all their members are there. In some layers a group is what of it belongs to layers."""
    left, words = set(components), {}
    order = list(WORDS)
    for name in ("ATTN", "FFN", "NORM"):
        members = set(GROUPS[name]) & set(anatomy.components) - (UNLAYERED if some_layers else set())
        if len(members) > 1 and members <= left:
            words[min(order.index(member) for member in members)] = name
            left -= members
    words |= {order.index(component): WORDS[component] for component in left}
    return "+".join(words[place] for place in sorted(words))


def layers_text(layers: frozenset[int], n_layers: int) -> str:
    """1/1 for all of them: without a limit it would be the embedding and the readout as well."""
    if len(layers) == n_layers:
        return "1/1"
    for name in PARTS:
        part, parts = LAYER_PARTS[name]
        if len(layers) > 1 and layers == {*range(part * n_layers // parts, (part + 1) * n_layers // parts)}:
            return name
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and runs[-1][-1] == layer - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def positions_text(tokens: frozenset[int], n_tokens: int, sets: Mapping[str, Sequence[int]]) -> str:
    """The shorter of the tokens as a union, and of the others' complement."""
    everywhere = frozenset(range(n_tokens))
    if tokens == everywhere:
        return "all"
    union, others = _union(tokens, sets), _union(everywhere - tokens, sets)
    complement = f"({'+'.join(others)})^C" if len(others) > 1 else f"{others[0]}^C"
    return "+".join(union) if len(union) <= len(others) else complement


def _union(tokens: frozenset[int], sets: Mapping[str, Sequence[int]]) -> list[str]:
    """Position sets inside these tokens, as few as cover most of them, and single tokens; in the prompt's order."""
    inside = {name: frozenset(members) for name, members in sets.items() if tokens.issuperset(members)}
    ways = [names for count in range(MOST_NAMES + 1) for names in combinations(inside, count)]
    # A name is worth more than the number of a token, so that LT is not T11.
    best = min(ways, key=lambda names: len(names) + 1.5 * len(_left(tokens, names, inside)))
    entries = {name: min(inside[name]) for name in best}
    entries |= {f"T{token}": token for token in _left(tokens, best, inside)}
    return sorted(entries, key=entries.__getitem__)


def _left(
    tokens: frozenset[int], names: Iterable[str], inside: Mapping[str, frozenset[int]]
) -> frozenset[int]:
    return tokens.difference(*(inside[name] for name in names))
