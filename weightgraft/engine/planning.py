"""Planning: from prompts and schemes to the trie of every prompt, and to batches of prompts of one size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from .cuts import NOTHING, Unseen, unseen
from .routes import Anatomy, all_from, resolve, serving
from .schemes import Prompt, Scheme
from .states import Registry, Trie, build_trie

LAST = "last"  # the decode_route by which a target's tokens are served as the last prompt token


@dataclass(frozen=True)
class Plan:
    """tries: the distinct tries; shapes: for each prompt, which of them is its own. trunks, readouts: the
    servings that the tries number. ends: for each layer, how many slots of a trunk's serving belong to it or come before it."""

    tries: tuple[Trie, ...]
    shapes: tuple[int, ...]
    trunks: Registry
    readouts: Registry
    ends: tuple[int, ...]

    def trie(self, prompt: int) -> Trie:
        return self.tries[self.shapes[prompt]]


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
    own_sets = [scheme.position_sets for scheme in schemes]
    names = sorted(frozenset().union(*own_sets))
    trunks, readouts = Registry(), Registry()
    everything: Unseen = (NOTHING,) * anatomy.n_layers  # of a token that sees all tokens up to it
    cutting = [number for number, scheme in enumerate(schemes) if scheme.cuts]
    numbers: dict[tuple[int, frozenset[str], Unseen], tuple[int, int]] = {}

    def numbered(scheme: int, memberships: frozenset[str], unseen: Unseen = everything) -> tuple[int, int]:
        known = scheme, memberships & own_sets[scheme], unseen
        if known not in numbers:
            trunk, readout = serving(schemes[scheme], known[1], owners, resolved, anatomy)
            numbers[known] = trunks.number(trunk, unseen), readouts.number(readout)
        return numbers[known]

    routes: list[Int[np.ndarray, "scheme token 2"]] = []  # of each shape, the (trunk, readout) servings
    steps: list[int] = []
    shape_numbers: dict[tuple, int] = {}
    shapes: list[int] = []
    for place, prompt in enumerate(prompts):
        if missing := [name for name in names if name not in prompt.positions]:
            has = ", ".join(sorted(prompt.positions))
            raise ValueError(f"prompt {place} has no position set {missing[0]!r}; it has {has}")
        n_steps = len(prompt.target) if score_target else 1
        shape = (len(prompt.tokens), n_steps, *(prompt.positions[name] for name in names))
        if shape not in shape_numbers:
            shape_numbers[shape] = len(routes)
            kinds, kind_of_token = _memberships(prompt, names)
            served = np.array([[numbered(scheme, kind) for kind in kinds] for scheme in range(len(schemes))])
            route = served[:, kind_of_token]
            for scheme in cutting:
                try:
                    hidden = unseen(schemes[scheme], prompt, anatomy.n_layers)
                except ValueError as error:
                    raise ValueError(f"prompt {place}: {error}") from None
                route[scheme] = [
                    numbered(scheme, kinds[kind], hidden[token]) for token, kind in enumerate(kind_of_token)
                ]
            fed = np.repeat(route[:, -1:], n_steps - 1, axis=1)
            if decode_route != LAST:
                trunk, readout = all_from(owners[decode_route], anatomy)
                fed[:] = trunks.number(trunk, everything), readouts.number(readout)
            routes.append(np.concatenate([route, fed], axis=1))
            steps.append(n_steps)
        shapes.append(shape_numbers[shape])
    layers = np.array([layer for _, layer in anatomy.trunk])
    ends = tuple(np.searchsorted(layers, np.arange(anatomy.n_layers), side="right").tolist())
    tries = tuple(
        build_trie(
            route[..., 0],
            route[:, -n_steps:, 1],
            lambda layer: trunks.alike(ends[layer], layer + 1),
            len(ends),
        )
        for route, n_steps in zip(routes, steps, strict=True)
    )
    return Plan(tries, tuple(shapes), trunks, readouts, ends)


def _memberships(prompt: Prompt, names: Sequence[str]) -> tuple[list[frozenset[str]], list[int]]:
    """(the distinct memberships in the named position sets that tokens have, for every token which of them is its own)."""
    members = {name: set(prompt.positions[name]) for name in names}
    numbers: dict[frozenset[str], int] = {}
    of_token = []
    for token in range(len(prompt.tokens)):
        kind = frozenset(name for name in names if token in members[name])
        of_token.append(numbers.setdefault(kind, len(numbers)))
    return list(numbers), of_token


def batches(plan: Plan, token_budget: int) -> Iterator[list[int]]:
    """Prompts in batches of at most token_budget rows (or of one prompt), those of one shape together."""
    order = sorted(range(len(plan.shapes)), key=lambda prompt: (plan.trie(prompt).rows, plan.shapes[prompt]))
    batch: list[int] = []
    for prompt in order:
        if batch and (len(batch) + 1) * plan.trie(prompt).rows > token_budget:
            yield batch
            batch = []
        batch.append(prompt)
    if batch:
        yield batch
