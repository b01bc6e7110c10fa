"""Cut attention: which of the tokens before it a token does not see, layer by layer."""

from collections.abc import Iterator

from .notation import contains, layer_numbers, parse_positions, set_names
from .schemes import Prompt, Scheme

Unseen = tuple[frozenset[int], ...]  # for each layer, the tokens that one token does not see there
NOTHING: frozenset[int] = frozenset()


def unseen(scheme: Scheme, prompt: Prompt, n_layers: int) -> list[Unseen]:
    """What each token of a prompt does not see under a scheme. A token always sees itself.

    Raises ValueError for a cut that cuts nothing, because no token that it hides comes before one that it hides it from.
    """
    hidden = [[NOTHING] * n_layers for _ in prompt.tokens]
    for cut in scheme.cuts:
        keys = frozenset(tokens_at(cut.keys, prompt))
        before = {
            query: frozenset(key for key in keys if key < query) for query in tokens_at(cut.queries, prompt)
        }
        if not any(before.values()):
            raise ValueError(
                f"scheme {scheme.name!r}: {cut} cuts nothing: no token at {cut.keys} comes before one at {cut.queries}, "
                "and attention looks back only"
            )
        for query, those in before.items():
            for layer in layer_numbers(str(cut.layers), n_layers):
                hidden[query][layer] |= those
    return [tuple(layers) for layers in hidden]


def tokens_at(positions: str, prompt: Prompt) -> Iterator[int]:
    """The tokens of a prompt that lie in a position expression."""
    expression = parse_positions(positions)
    names = set_names(expression)
    for token in range(len(prompt.tokens)):
        if contains(expression, frozenset(name for name in names if token in prompt.positions[name])):
            yield token
