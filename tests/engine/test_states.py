"""Every distinct state is computed once: as many token-layers as there are distinct routes up to a token and a layer."""

import random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from oracle import Oracle, layers_of, tokens_of
from test_exactness import CASES, case_of
from tiny_models import tiny_model

from weightgraft import GraftedModel, Prompt, Scheme, parse_scheme
from weightgraft.engine import states
from weightgraft.engine.states import Registry, build_level, build_trie


@pytest.fixture(scope="module", params=["gpt2", "qwen3"])
def engine(request) -> tuple[GraftedModel, Oracle]:
    pre = tiny_model(request.param, 0)
    donors = {name: tiny_model(request.param, seed) for seed, name in enumerate(("sft", "task", "lora"), 1)}
    return GraftedModel(pre, donors), Oracle(pre, donors)


def served(oracle: Oracle, prompt: Prompt, scheme: Scheme, token: int, layer: int) -> tuple:
    """Who serves every piece of a layer at a token, read from the grafts by the oracle's own rules. Layer 0 has embed too."""
    grafts = [graft for graft in scheme.grafts if token in tokens_of(graft.positions, prompt)]
    owners = []
    for component in ("embed", "attn_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down"):
        if component == "gate" and oracle.config.model_type == "gpt2":
            continue
        if component == "embed" and layer > 0:
            continue
        kv = oracle.config.num_attention_heads // oracle.group
        heads = {"q": range(oracle.config.num_attention_heads), "k": range(kv), "v": range(kv)}
        heads["o"] = (
            [*heads["q"], None] if oracle.config.model_type == "gpt2" else heads["q"]
        )  # None: its bias
        for head in heads.get(component, [None]):
            owner = "recipient"
            for graft in grafts:
                if oracle._takes(graft, component, -1 if component == "embed" else layer, head):
                    owner = graft.donor
            owners.append(owner)
    return tuple(owners)


def counted(oracle: Oracle, prompt: Prompt, schemes: list[Scheme], decode_route: str) -> list[int]:
    """For each layer, by brute force: distinct (token, what serves all cells of tokens up to it and of layers up to this one)."""
    last, n_layers = len(prompt.tokens) - 1, oracle.n_layers
    fed = parse_scheme("all", donor=decode_route)
    routes = set()
    for scheme in schemes:
        cells = {}
        for token in range(last + len(prompt.target)):
            asked = fed if token > last and decode_route != "last" else scheme
            for layer in range(n_layers):
                unseen = {
                    key
                    for cut in asked.cuts
                    if layer in layers_of(str(cut.layers), n_layers)
                    and min(token, last) in tokens_of(cut.queries, prompt)
                    for key in tokens_of(cut.keys, prompt)
                    if key < min(token, last)
                }
                who = served(oracle, prompt, asked, min(token, last), layer)
                cells[token, layer] = who, tuple(sorted(unseen))
        for token, layer in cells:
            below = tuple(sorted((c, who) for c, who in cells.items() if c[0] <= token and c[1] <= layer))
            routes.add((layer, token, below))
    return [sum(layer == one for one, *_ in routes) for layer in range(n_layers)]


def test_token_layers_are_the_least_there_can_be(engine):
    grafted, oracle = engine
    seen = []

    @settings(max_examples=20, derandomize=True, deadline=None, database=None)
    @given(drawn=CASES)
    def agree(drawn: dict):
        case = case_of(drawn, grafted.anatomy.family)
        counts = grafted.node_counts(case.prompts, case.schemes, decode_route=case.decode_route)
        rows = grafted.row_counts(case.prompts, case.schemes, decode_route=case.decode_route)
        for prompt, count, most in zip(case.prompts, counts, rows, strict=True):
            expected = counted(oracle, prompt, case.schemes, case.decode_route)
            assert (count, most) == (sum(expected), expected[-1])
            seen.append(expected[0] < expected[-1])

    agree()
    assert sum(seen) > 10  # schemes do part between layers


def test_token_layers_are_the_least_there_can_be_with_cuts(engine):
    grafted, oracle = engine
    prompt = Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2), "M": (3,)}, target=(30, 4))
    texts = [
        "PRE",
        "FE",
        "FE, cut LT<-FE",
        "FE, cut LT<-FE[1]",
        "FE, cut LT<-FE[1-2]",
        "cut M+LT<-FE[2]",
        "LT[2]",
        "LT[2], cut LT<-M[0]",
    ]
    schemes = [parse_scheme(text, donor="sft") for text in texts]
    for route in ("last", "sft"):
        expected = counted(oracle, prompt, schemes, route)
        assert grafted.node_counts([prompt], schemes, decode_route=route) == [sum(expected)]
        assert grafted.row_counts([prompt], schemes, decode_route=route) == [expected[-1]]


def test_a_pass_computes_the_rows_that_the_count_says(engine, prompts):
    grafted, _ = engine
    texts = ["PRE", "SFT", "FE[1]", "LT[2]", "q@FE[2]", "up@LT[1]", "o{1}@FE[1]"]
    schemes = [parse_scheme(text, donor="sft") for text in texts]
    computed: list[int] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, given: computed.append(given[0].shape[1]))
        for name, module in grafted._backbone.named_modules()
        if name.endswith(("ln_1", "input_layernorm"))
    ]
    grafted.score(prompts, schemes)
    for hook in hooks:
        hook.remove()
    assert len(set(computed)) == 3
    assert sum(computed) == sum(grafted.node_counts(prompts, schemes))


def distinct_prefixes(routes: list[list[int]]) -> int:
    return len({tuple(route[: length + 1]) for route in routes for length in range(len(route))})


def test_a_level_of_random_routes_has_one_node_a_prefix():
    draw = random.Random(0)
    for _ in range(200):
        length = draw.randint(1, 9)
        routes = np.array([[draw.randint(0, 3) for _ in range(length)] for _ in range(draw.randint(1, 12))])
        alike = np.array([0, 0, 1, 2])  # the first two are not told apart
        level = build_level(routes, alike)
        assert len(level) == distinct_prefixes(alike[routes].tolist())
        # The path of a scheme's last node is its route.
        for scheme, route in enumerate(routes):
            path = level.paths[level.nodes[scheme, -1]]
            assert np.array_equal(level.depths[path], np.arange(length))
            assert np.array_equal(alike[level.servings[path]], alike[route])


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(
    drawn=st.lists(
        st.lists(st.lists(st.integers(0, 1), min_size=5, max_size=5), min_size=4, max_size=4),
        min_size=1,
        max_size=6,
    )
)
def test_levels_begin_where_rows_split_and_nowhere_else(drawn):
    """drawn: for some schemes, for four tokens, an owner a layer."""
    registry = Registry()
    routes = np.array([[registry.number(tuple(token)) for token in scheme] for scheme in drawn])
    trie = build_trie(routes, np.zeros((len(drawn), 1), int), lambda layer: registry.alike(layer + 1), 5)
    sizes = [
        distinct_prefixes([[tuple(t[: layer + 1]) for t in scheme] for scheme in drawn]) for layer in range(5)
    ]
    assert [len(trie.level_at(layer)) for layer in range(5)] == sizes
    assert trie.token_layers(5) == sum(sizes) and trie.rows == sizes[-1]
    assert trie.starts == tuple(layer for layer in range(5) if layer == 0 or sizes[layer] > sizes[layer - 1])


@pytest.mark.parametrize(("keys", "tile"), [(192, 128), (10, 7), (1, 1)])
def test_tiles_cover_every_node_once_and_all_that_it_looks_at(monkeypatch, keys, tile):
    monkeypatch.setattr(states, "KEYS", keys)
    monkeypatch.setattr(states, "TILE", tile)
    draw = random.Random(1)
    routes = np.array([[draw.randint(0, 1) for _ in range(8)] for _ in range(30)])
    level = build_level(routes, np.arange(2))
    assert np.array_equal(np.concatenate([one.queries for one in level.tiles]), np.arange(len(level)))
    for one in level.tiles:
        assert len(one.keys) <= max(keys, tile + 8)
        for query, allowed in zip(one.queries, one.allowed, strict=True):
            assert np.array_equal(one.keys[allowed], level.paths[query][: level.depths[query] + 1])


def test_registry_orders_servings_so_that_alike_ones_are_neighbours():
    registry = Registry()
    for serving in ((0, 1), (1, 1), (0, (0, 1)), (0, 0)):
        registry.number(serving)
    order = np.argsort(registry.ranks(0, 2))
    assert [registry.servings[number] for number in order] == [(0, 0), (0, (0, 1)), (0, 1), (1, 1)]
    assert registry.ranks(0, 1).tolist() == [0, 1, 0, 0]


def test_a_map_of_single_cells_takes_little_more_than_half_of_what_whole_rows_take():
    grafted = GraftedModel(tiny_model("gpt2", 0), {"sft": tiny_model("gpt2", 1)})
    prompt = Prompt(tokens=range(15), positions={f"T{t}": (t,) for t in range(15)}, target=(3,))
    schemes = [parse_scheme(f"T{t}[{layer}]", donor="sft") for t in range(15) for layer in range(3)]
    (count,), (rows,) = grafted.node_counts([prompt], schemes), grafted.row_counts([prompt], schemes)
    # A cell's own rows are its token and those after it, from its layer on; all share the recipient's, whose last token no cell
    # has in the last layer.
    assert rows == 14 + 3 * sum(range(1, 16))
    assert count == 15 + 15 + 14 + (1 + 2 + 3) * sum(range(1, 16))
