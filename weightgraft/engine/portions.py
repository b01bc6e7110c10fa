"""Many schemes in portions: as many at once as one packed prompt bears."""

from collections.abc import Iterator, Sequence
from dataclasses import fields

import torch

from .model import GraftedModel
from .schemes import Prompt, Scheme
from .scores import Scores

# Attention within a packed prompt is quadratic in its nodes, what schemes share only linear: on two cores, 100 to 200 nodes cost
# least for maps of 50 to 100 schemes, twice as many 20 % more.
NODES_AT_ONCE = 192


def portions(
    grafted: GraftedModel, schemes: Sequence[Scheme], prompt: Prompt
) -> Iterator[tuple[tuple[Scheme, ...], int]]:
    """(schemes, nodes): schemes in their order, as many at once as fit into NODES_AT_ONCE nodes of this prompt (at least one)."""
    pre, alone = Scheme("PRE"), grafted.node_counts([prompt], [Scheme("PRE")])[0]
    part: list[Scheme] = []
    nodes = alone
    for scheme in schemes:
        added = grafted.node_counts([prompt], [pre, scheme])[0] - alone
        if part and nodes + added > NODES_AT_ONCE:
            yield tuple(part), nodes
            part, nodes = [], alone
        part.append(scheme)
        nodes += added
    if part:
        yield tuple(part), nodes


def together(scores: Sequence[Scores], dim: int = 1) -> Scores:
    """Scores of the same prompts under some schemes and others as one; dim 0: of other prompts under the same schemes."""
    return Scores(
        **{
            field.name: torch.cat([getattr(one, field.name) for one in scores], dim=dim)
            for field in fields(Scores)
        }
    )
