"""Packing computes every distinct state once, and lays rows out so that what one model multiplies lies together."""

import random

import pytest
import torch
from tiny_models import tiny_lora, tiny_model

from weightgraft import GraftedModel, Prompt, Scheme, parse_scheme
from weightgraft.engine.attention import OnlyRead
from weightgraft.engine.layout import build_batch
from weightgraft.engine.leaves import RoutedLinear
from weightgraft.engine.packing import Groups
from weightgraft.engine.routing import MAX_RUNS, NOBODY, Routing

PAPER = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")


def naive_route(prompt: Prompt, scheme_text: str) -> list[bool]:
    """Position grafting by hand: which tokens are the donor's."""
    tokens = set(range(len(prompt.tokens)))
    sets = {"FE": set(prompt.positions["FE"]), "LT": set(prompt.positions["LT"])}
    sets["FE+LT"] = sets["FE"] | sets["LT"]
    grafted = {"PRE": set(), "SFT": tokens, **sets}
    grafted |= {"(FE+LT)^C": tokens - sets["FE+LT"], "FE^C": tokens - sets["FE"], "LT^C": tokens - sets["LT"]}
    return [token in grafted[scheme_text] for token in sorted(tokens)]


def test_position_schemes_compute_their_distinct_prefixes_in_every_layer(grafted, prompts):
    schemes = [parse_scheme(text, donor="sft") for text in PAPER]
    for decode_route, fed in (("last", None), ("recipient", False), ("sft", True)):
        counts = grafted.row_counts(prompts, schemes, decode_route=decode_route)
        for prompt, count in zip(prompts, counts, strict=True):
            routes = []
            for text in PAPER:
                route = naive_route(prompt, text)
                decoded = route[-1] if fed is None else fed
                routes.append(route + [decoded] * (len(prompt.target) - 1))
            assert count == len({tuple(route[: end + 1]) for route in routes for end in range(len(route))})
            assert count < len(PAPER) * (len(prompt.tokens) + len(prompt.target) - 1)
        layers = grafted.anatomy.n_layers  # these schemes part before the first layer
        assert grafted.node_counts(prompts, schemes, decode_route=decode_route) == [
            layers * n for n in counts
        ]


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
    assert grafted.row_counts([prompt], schemes) == [14 + 100]
    assert grafted.node_counts([prompt], schemes) == [3 * (14 + 100)]


def test_schemes_that_differ_in_the_readout_share_all_their_tokens(grafted):
    prompt = Prompt(tokens=range(15), positions={"FE": (2, 3)}, target=(3,))
    texts = ["FE", "FE, unembed@all", "FE, unembed@LT", "FE, final_norm@all", "FE, unembed@FE"]
    schemes = [parse_scheme(text, donor="sft") for text in texts]
    assert grafted.node_counts([prompt], schemes) == [3 * 15]
    logits = grafted.logits([prompt], schemes)[0]
    assert torch.equal(logits[1], logits[2]) and torch.equal(logits[0], logits[4])
    assert (logits[0] - logits[1]).abs().max() > 0.1 and (logits[0] - logits[3]).abs().max() > 0.1


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "phi3"])
def test_the_last_layer_computes_only_the_tokens_that_are_read(family, prompts):
    grafted = GraftedModel(tiny_model(family, 0), {"sft": tiny_model(family, 1)})
    schemes = [parse_scheme(text, donor="sft") for text in (*PAPER, "unembed@LT")]
    plan = grafted.plan(prompts, schemes)
    read = sum(len(set(plan.tries[shape].read_nodes.tolist())) for shape in plan.shapes)
    assert read < sum(grafted.row_counts(prompts, schemes)) / 2
    computed: list[int] = []
    for module in grafted._backbone.modules():
        if isinstance(module, OnlyRead):
            module.module.register_forward_pre_hook(lambda _, given: computed.append(given[0].shape[1]))
    grafted.score(prompts, schemes)
    assert computed == [read, read]  # o and the FFN


def test_prompts_of_one_shape_share_one_trie(grafted, prompts):
    schemes = [parse_scheme(text, donor="sft") for text in PAPER]
    plan = grafted.plan(prompts, schemes)
    assert plan.shapes == (0, 0, 1, 2) and len(plan.tries) == 3


def test_rows_served_alike_in_a_segments_layers_lie_together(grafted, prompts):
    schemes = [
        parse_scheme(text, donor="sft") for text in (*PAPER, "q@FE, up@LT", "FE[1]", "LT[2]", "k@LT[2]")
    ]
    plan = grafted.plan(prompts, schemes)
    tries = [plan.tries[shape] for shape in plan.shapes]
    tokens = [(*prompt.tokens, *prompt.target) for prompt in prompts]
    batch = build_batch(tries, tokens, plan.trunks, plan.readouts, plan.ends, torch.device("cpu"))
    assert [segment.start for segment in batch.segments] == [0, 1, 2]
    for layer, segment in enumerate(batch.segments):
        slots = [number for number, slot in enumerate(grafted.anatomy.trunk) if max(0, slot[1]) == layer]
        own = [tuple(serving[slot] for slot in slots) for serving in segment.groups.servings]
        assert len(own) == len(set(own))
        assert sum(segment.groups.sizes) == sum(len(trie.level_at(layer)) for trie in tries)


def test_split_rows_come_from_the_rows_of_their_token_and_prompt(grafted, prompts):
    schemes = [parse_scheme(text, donor="sft") for text in ("PRE", "FE[1]", "LT[2]", "k@LT[2]")]
    plan = grafted.plan(prompts, schemes)
    tries = [plan.tries[shape] for shape in plan.shapes]
    tokens = [(*prompt.tokens, *prompt.target) for prompt in prompts]
    batch = build_batch(tries, tokens, plan.trunks, plan.readouts, plan.ends, torch.device("cpu"))
    first, second, third = batch.segments
    assert first.lower is None and first.origin is None
    assert torch.equal(second.origin, second.lower) and torch.equal(third.origin, second.lower[third.lower])
    # What is read, read by read: the right prompt's token.
    read = third.origin[batch.read_rows]
    for row, prompt, step in zip(
        read.tolist(), batch.read_prompts.tolist(), batch.read_steps.tolist(), strict=True
    ):
        depth = len(prompts[prompt].tokens) - 1 + step
        assert batch.position_ids[0, row] == depth and batch.input_ids[0, row] == tokens[prompt][depth]


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


def test_rows_that_are_nobodys_are_routed_by_themselves():
    routing = Routing()
    groups = Groups(tuple((owner,) for owner in range(5)), (2, 1, 3, 1, 2))
    with routing.serving(groups, torch.device("cpu")):
        other, rows = routing.only((0, NOBODY, 0, NOBODY, 1))
        assert rows.tolist() == [2, 6] and other.groups == Groups(((1,), (3,)), (1, 1))
        other, rows = routing.only((NOBODY, NOBODY, 0, 0, 0))
        assert rows == slice(0, 3) and other.groups.sizes == (2, 1)
        assert routing.only((NOBODY, NOBODY, 1, 1, 0))[0] is other
    assert not routing.groups.servings


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_only_rows_with_heads_of_several_owners_are_computed_in_parts(family, prompts, monkeypatch):
    grafted = GraftedModel(tiny_model(family, 0), {"sft": tiny_model(family, 1)})
    schemes = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT", "o{1}@LT[1]", "q+k{0}@FE[1]")]
    in_parts: list[int] = []
    whole = RoutedLinear._in_parts
    monkeypatch.setattr(
        RoutedLinear,
        "_in_parts",
        lambda self, routing, states: in_parts.append(len(states)) or whole(self, routing, states),
    )
    grafted.score(prompts, schemes)
    # The targets' tokens are served as the last one is: o{1} at one token a step; q and k at the tokens of FE.
    steps, spans = sum(len(p.target) for p in prompts), sum(len(p.positions["FE"]) for p in prompts)
    fused = [spans] if family == "gpt2" else [spans, spans]
    assert sorted(in_parts) == sorted([steps, *fused])


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
