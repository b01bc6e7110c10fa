"""Planning: from prompts and schemes to the trie of every prompt, and to batches of prompts of one size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .packing import Registry, Trie, build_trie
from .routes import Anatomy, all_from, resolve, serving
from .schemes import Prompt, Scheme

LAST = "last"  # the decode_route by which a target's tokens are served as the last prompt token


@dataclass(frozen=True)
class Plan:
    """tries: the distinct tries; shapes: for each prompt, which of them is its own. trunks, readouts: the
    servings that the tries number."""

    tries: tuple[Trie, ...]
    shapes: tuple[int, ...]
    trunks: Registry
    readouts: Registry

    def nodes(self, prompt: int) -> int:
        """How many tokens are computed for a prompt."""
        return len(self.tries[self.shapes[prompt]].depths)


def make_plan(
    prompts: Sequence[Prompt],
    schemes: Sequence[Scheme],
    owners: Mapping[str, int],
    anatomy: Anatomy,
    decode_route: str,
    score_target: bool,
) -> Plan:
    """The trie of every prompt. Prompts with the same length and position sets share one.

    decode_route: `last`, or the name of the model that serves the target's tokens. score_target: whether the
    target's tokens but the last become nodes; if not, only the last prompt token is read.
    Raises ValueError for a prompt, scheme or decode_route that does not fit, naming it.
    """
    if decode_route != LAST and decode_route not in owners:
        raise ValueError(f"decode_route {decode_route!r}: choose from {LAST}, {', '.join(owners)}")
    resolved = resolve(schemes, owners, anatomy)
    names = sorted(frozenset().union(*(scheme.position_sets for scheme in schemes)))
    trunks, readouts = Registry(), Registry()
    numbers: dict[tuple[int, frozenset[str]], tuple[int, int]] = {}

    def numbered(scheme: int, memberships: frozenset[str]) -> tuple[int, int]:
        if (scheme, memberships) not in numbers:
            trunk, readout = serving(schemes[scheme], memberships, owners, resolved, anatomy)
            numbers[scheme, memberships] = trunks.number(trunk), readouts.number(readout)
        return numbers[scheme, memberships]

    shape_numbers: dict[tuple, int] = {}
    tries: list[Trie] = []
    shapes: list[int] = []
    for place, prompt in enumerate(prompts):
        if missing := [name for name in names if name not in prompt.positions]:
            has = ", ".join(sorted(prompt.positions))
            raise ValueError(f"prompt {place} has no position set {missing[0]!r}; it has {has}")
        n_steps = len(prompt.target) if score_target else 1
        shape = (len(prompt.tokens), n_steps, *(prompt.positions[name] for name in names))
        if shape not in shape_numbers:
            shape_numbers[shape] = len(tries)
            token_sets = _memberships(prompt, names)
            routes = []
            for scheme in range(len(schemes)):
                route = [numbered(scheme, memberships) for memberships in token_sets]
                decoded = route[-1]
                if decode_route != LAST:
                    trunk, readout = all_from(owners[decode_route], anatomy)
                    decoded = trunks.number(trunk), readouts.number(readout)
                routes.append(route + [decoded] * (n_steps - 1))
            tries.append(build_trie(routes, n_steps))
        shapes.append(shape_numbers[shape])
    return Plan(tuple(tries), tuple(shapes), trunks, readouts)


def _memberships(prompt: Prompt, names: Sequence[str]) -> list[frozenset[str]]:
    """For every token, which of the named position sets it belongs to."""
    members = {name: set(prompt.positions[name]) for name in names}
    return [
        frozenset(name for name in names if token in members[name]) for token in range(len(prompt.tokens))
    ]


def batches(plan: Plan, token_budget: int) -> Iterator[list[int]]:
    """Prompts in batches of at most token_budget nodes (or of one prompt), those of one shape together."""
    order = sorted(range(len(plan.shapes)), key=lambda prompt: (plan.nodes(prompt), plan.shapes[prompt]))
    batch: list[int] = []
    for prompt in order:
        if batch and (len(batch) + 1) * plan.nodes(prompt) > token_budget:
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch
