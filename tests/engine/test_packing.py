"""Packing computes every distinct route prefix once, and nothing else."""

import random

import pytest
import torch
from tiny_models import tiny_lora, tiny_model

from weightgraft import GraftedModel, Prompt, Scheme, parse_scheme
from weightgraft.engine.attention import OnlyRead
from weightgraft.engine.leaves import MAX_RUNS, Routing
from weightgraft.engine.packing import Groups, Registry, build_batch, build_trie

PAPER = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")


def distinct_prefixes(routes: list[list]) -> int:
    return len({tuple(route[: length + 1]) for route in routes for length in range(len(route))})


def naive_route(prompt: Prompt, scheme_text: str) -> list[bool]:
    """Position grafting by hand: which tokens are the donor's."""
    tokens = set(range(len(prompt.tokens)))
    sets = {"FE": set(prompt.positions["FE"]), "LT": set(prompt.positions["LT"])}
    sets["FE+LT"] = sets["FE"] | sets["LT"]
    grafted = {"PRE": set(), "SFT": tokens, **sets}
    grafted |= {"(FE+LT)^C": tokens - sets["FE+LT"], "FE^C": tokens - sets["FE"], "LT^C": tokens - sets["LT"]}
    return [token in grafted[scheme_text] for token in sorted(tokens)]


def test_node_count_is_the_number_of_distinct_route_prefixes(grafted, prompts):
    schemes = [parse_scheme(text, donor="sft") for text in PAPER]
    for decode_route, fed in (("last", None), ("recipient", False), ("sft", True)):
        counts = grafted.node_counts(prompts, schemes, decode_route=decode_route)
        for prompt, count in zip(prompts, counts, strict=True):
            routes = []
            for text in PAPER:
                route = naive_route(prompt, text)
                decoded = route[-1] if fed is None else fed
                routes.append(route + [decoded] * (len(prompt.target) - 1))
            assert count == distinct_prefixes(routes)
            assert count < len(PAPER) * (len(prompt.tokens) + len(prompt.target) - 1)


def test_trie_of_random_routes_has_one_node_a_prefix():
    draw = random.Random(0)
    for _ in range(200):
        length, n_steps = draw.randint(1, 9), 1
        routes = [
            [(draw.randint(0, 2), draw.randint(0, 1)) for _ in range(length)]
            for _ in range(draw.randint(1, 12))
        ]
        trie = build_trie(routes, n_steps)
        trunks = [[trunk for trunk, _ in route] for route in routes]
        assert len(trie.depths) == distinct_prefixes(trunks)
        assert len(trie.read_nodes) == len(
            {(*trunk, route[-1]) for trunk, route in zip(trunks, routes, strict=True)}
        )
        # Walking up from where a scheme is read gives back its route.
        for scheme, trunk in enumerate(trunks):
            node = trie.read_nodes[trie.reads[scheme, 0]]
            path = trie.ancestors[node].nonzero()[:, 0]
            assert trie.depths[path].tolist() == list(range(length))
            assert trie.servings[path].tolist() == trunk


def test_a_hundred_schemes_at_the_last_token_cost_one_prompt_and_a_hundred_tokens(grafted):
    prompt = Prompt(tokens=range(15), target=(3,))
    names = ["q", "k", "v", "o", "gate", "up", "down", "attn_norm", "mlp_norm"]
    draw = random.Random(0)
    chosen: set[tuple[str, ...]] = set()
    while len(chosen) < 99:
        chosen.add(tuple(sorted(draw.sample(names, draw.randint(1, 5)))))
    schemes = [Scheme("PRE")] + [
        parse_scheme("+".join(parts) + "@LT", donor="sft") for parts in sorted(chosen)
    ]
    assert grafted.node_counts([prompt], schemes) == [14 + 100]


def test_schemes_that_differ_in_the_readout_share_all_their_tokens(grafted):
    prompt = Prompt(tokens=range(15), positions={"FE": (2, 3)}, target=(3,))
    texts = ["FE", "FE, unembed@all", "FE, unembed@LT", "FE, final_norm@all", "FE, unembed@FE"]
    schemes = [parse_scheme(text, donor="sft") for text in texts]
    assert grafted.node_counts([prompt], schemes) == [15]
    logits = grafted.logits([prompt], schemes)[0]
    assert torch.equal(logits[1], logits[2]) and torch.equal(logits[0], logits[4])
    assert (logits[0] - logits[1]).abs().max() > 0.1 and (logits[0] - logits[3]).abs().max() > 0.1


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "phi3"])
def test_the_last_layer_computes_only_the_tokens_that_are_read(family, prompts):
    grafted = GraftedModel(tiny_model(family, 0), {"sft": tiny_model(family, 1)})
    schemes = [parse_scheme(text, donor="sft") for text in (*PAPER, "unembed@LT")]
    plan = grafted._plan(prompts, schemes, "last", score_target=True)
    read = sum(len(plan.tries[shape].read_nodes.unique()) for shape in plan.shapes)
    assert read < sum(grafted.node_counts(prompts, schemes)) / 2
    computed: list[int] = []
    for module in grafted._backbone.modules():
        if isinstance(module, OnlyRead):
            module.module.register_forward_pre_hook(lambda _, given: computed.append(given[0].shape[1]))
    grafted.score(prompts, schemes)
    assert computed == [read, read]  # o and the FFN


def test_prompts_of_one_shape_share_one_trie(grafted, prompts):
    schemes = [parse_scheme(text, donor="sft") for text in PAPER]
    plan = grafted._plan(prompts, schemes, "last", score_target=True)
    assert plan.shapes == (0, 0, 1, 2) and len(plan.tries) == 3


def test_rows_of_one_serving_lie_together(grafted, prompts):
    schemes = [parse_scheme(text, donor="sft") for text in (*PAPER, "q@FE, up@LT")]
    plan = grafted._plan(prompts, schemes, "last", score_target=True)
    tries = [plan.tries[shape] for shape in plan.shapes]
    tokens = [(*prompt.tokens, *prompt.target) for prompt in prompts]
    batch = build_batch(tries, tokens, plan.trunks, plan.readouts, torch.device("cpu"))
    assert len(batch.trunk.servings) == len(set(batch.trunk.servings))
    assert sum(batch.trunk.sizes) == batch.input_ids.shape[1] == sum(len(trie.depths) for trie in tries)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "qwen3", "gemma3_text", "olmo2"])
def test_many_schemes_together_give_what_each_gives_alone(family):
    """So many that rows of one owner lie in many runs, and are gathered."""
    pre, sft = tiny_model(family, 0), tiny_model(family, 1)
    grafted = GraftedModel(pre, {"sft": sft, "lora": tiny_lora(pre, 2)})
    prompt = Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2)})
    draw = random.Random(0)
    schemes = []
    for number in range(60):
        heads = "{" + str(draw.randint(0, 3)) + "}" if number % 3 == 0 else ""
        names = (
            ["q", "k", "v", "o"]
            if heads
            else ["q", "k", "v", "o", "up", "down", "attn_norm", "mlp_norm", "embed"]
        )
        components = "+".join(draw.sample(names, draw.randint(1, 3)))
        positions = draw.choice(["FE", "LT", "FE+LT", "all"])
        schemes.append(parse_scheme(f"{components}{heads}@{positions}", donor=draw.choice(["sft", "lora"])))
    together = grafted.logits([prompt], schemes)[0]
    for row, scheme in zip(together, schemes, strict=True):
        alone = grafted.logits([prompt], [scheme])[0, 0]
        assert (row - alone).abs().max() <= 1e-5 * alone.abs().max()  # float32 sums in another order


def test_pieces_cover_the_rows_of_every_owner_once_and_as_slices_where_they_are_few():
    draw = random.Random(0)
    for _ in range(300):
        sizes = [draw.randint(1, 5) for _ in range(draw.randint(1, 30))]
        pattern = tuple(draw.randint(0, 2) for _ in sizes)
        routing = Routing()
        routing.start(Groups(tuple((owner,) for owner in pattern), tuple(sizes)), torch.device("cpu"))
        owners = torch.tensor(pattern).repeat_interleave(torch.tensor(sizes))
        served = torch.full_like(owners, -1)
        pieces = routing.pieces(pattern)
        for owner, rows in pieces:
            assert (served[rows] == -1).all()
            served[rows] = owner
        assert torch.equal(served, owners)
        assert routing.pieces(pattern) is pieces
        for owner in set(pattern):
            mine = [rows for who, rows in pieces if who == owner]
            assert len(mine) <= MAX_RUNS and sum(isinstance(rows, torch.Tensor) for rows in mine) <= 1


def test_registry_orders_servings_so_that_alike_ones_are_neighbours():
    registry = Registry()
    for serving in ((0, 1), (1, 1), (0, (0, 1)), (0, 0)):
        registry.number(serving)
    ordered = sorted(range(4), key=lambda number: registry.ranks()[number])
    assert [registry.servings[number] for number in ordered] == [(0, 0), (0, (0, 1)), (0, 1), (1, 1)]


@pytest.mark.parametrize("budget", [1, 17, 60, 100_000])
def test_token_budget_does_not_change_scores(grafted, prompts, budget):
    schemes = [parse_scheme(text, donor="sft") for text in PAPER]
    expected = grafted.score(prompts, schemes)
    calls: list[tuple[int, int]] = []
    scores = grafted.score(prompts, schemes, token_budget=budget, progress=lambda *done: calls.append(done))
    assert torch.equal(scores.target_rank, expected.target_rank)
    # Logits are of size 10; float32 sums in another order.
    torch.testing.assert_close(scores.target_logit, expected.target_logit, rtol=0, atol=1e-4)
    torch.testing.assert_close(scores.joint_logprob, expected.joint_logprob, rtol=0, atol=3e-4)
    assert calls[-1] == (len(prompts), len(prompts))
    assert len(calls) == (len(prompts) if budget == 1 else len(calls))


def test_the_same_call_gives_the_same_bits(pre, sft, prompts):
    schemes = [parse_scheme(text, donor="sft") for text in PAPER]
    first = GraftedModel(pre, {"sft": sft}).score(prompts, schemes)
    second = GraftedModel(pre, {"sft": sft}).score(prompts, schemes)
    assert torch.equal(first.joint_logprob, second.joint_logprob)
    assert torch.equal(first.target_logit, second.target_logit)
