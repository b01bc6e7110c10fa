"""The claim of the engine: one packed, routed pass is the same as running the tokens one by one, each with its
own weights put in place. Checked against the literal oracle on random cases of every family."""

import random
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from oracle import Oracle
from tiny_models import FAMILY_NAMES, VOCAB, tiny_lora, tiny_model

from weightgraft import Graft, GraftedModel, Prompt, Scheme, Scores
from weightgraft.engine.families import FAMILIES

# Relative to the largest logit. The numbers are the same up to float32 rounding: sums are taken in another order
# (rows of several prompts in one product, low-rank updates instead of merged ones).
TOLERANCE = 1e-5
CASES_PER_FAMILY = 10  # others in each of 19 families: 190 cases, each of several prompts and schemes

UNLAYERED = ("embed", "final_norm", "unembed", "NORM")
LAYERED = ("attn_norm", "mlp_norm", "FFN", "up", "down")
HEADED = ("q", "k", "v", "o", "ATTN")


@dataclass
class Case:
    prompts: list[Prompt]
    schemes: list[Scheme]
    decode_route: str
    token_budget: int


# The strategies draw plain data: the type checker that pytest puts into our classes itself draws random numbers.
NAMES = st.sampled_from(["FE", "LT", "M", "all"])
UNIONS = st.lists(NAMES, min_size=2, max_size=3).map(lambda parts: "(" + "+".join(parts) + ")")
POSITIONS = st.tuples(NAMES | UNIONS, st.sampled_from(["", "", "^C"])).map("".join)
DONORS = st.sampled_from(["sft", "task", "lora", "recipient"])
# Often a single layer: then schemes part between layers, and their rows split there.
LAYERS = st.sampled_from(
    ["all", "all", "0", "1", "1", "2", "2", "0-1", "0,2", "first_half", "second_half", "last_quarter", "2/3"]
)


def some_of(*names: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=4).map("+".join)


GRAFTS = st.one_of(
    st.fixed_dictionaries({"components": st.just("all") | some_of(*UNLAYERED, *LAYERED, *HEADED)}),
    st.fixed_dictionaries(
        {"components": st.just("all") | some_of(*LAYERED, *HEADED, "NORM"), "layers": LAYERS}
    ),
    st.fixed_dictionaries(
        {
            "components": some_of(*HEADED),
            "layers": LAYERS,
            "heads": st.lists(st.integers(0, 3), min_size=1, max_size=4),
        }
    ),
).flatmap(
    lambda fields: st.fixed_dictionaries({"positions": POSITIONS, "donor": DONORS}).map(
        lambda more: fields | more
    )
)
SCHEMES = st.lists(st.lists(GRAFTS, max_size=3), min_size=2, max_size=4)
TOKENS = st.integers(0, VOCAB - 1)


@st.composite
def prompt_fields(draw) -> dict:
    tokens = draw(st.lists(TOKENS, min_size=2, max_size=9))
    some_positions = st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=3)
    return {
        "tokens": tokens,
        "positions": {"FE": draw(some_positions), "M": draw(some_positions)},
        "target": draw(st.lists(TOKENS, min_size=1, max_size=3)),
        "foil": draw(TOKENS),
    }


CASES = st.fixed_dictionaries(
    {
        "prompts": st.lists(prompt_fields(), min_size=1, max_size=3),
        "schemes": SCHEMES,
        "decode_route": st.sampled_from(["last", "recipient", "sft", "lora"]),
        "token_budget": st.sampled_from([1, 40, 4096]),
    }
)


def splits(case: Case, grafted: GraftedModel) -> int:
    """How many prompts have layers with more rows than the one before."""
    plan = grafted.plan(case.prompts, case.schemes)
    return sum(len(plan.trie(place).starts) > 1 for place in range(len(case.prompts)))


def case_of(drawn: dict, family: str) -> Case:
    if "mlp_norm" not in FAMILIES[family].components:  # where one norm serves attention and FFN
        for graft in (graft for grafts in drawn["schemes"] for graft in grafts):
            graft["components"] = graft["components"].replace("mlp_norm", "attn_norm")
    prompts = [Prompt(**fields) for fields in drawn["prompts"]]
    schemes = [
        Scheme(str(number), tuple(Graft(**fields) for fields in grafts))
        for number, grafts in enumerate(drawn["schemes"])
    ]
    return Case(prompts, schemes, drawn["decode_route"], drawn["token_budget"])


_BUILT: dict[str, tuple[GraftedModel, Oracle]] = {}


def built(family: str) -> tuple[GraftedModel, Oracle]:
    """Engine and oracle over a recipient, two dense donors and a LoRA donor; the oracle gets the latter merged."""
    if family not in _BUILT:
        recipient, sft, task = (tiny_model(family, seed) for seed in range(3))
        lora = tiny_lora(recipient, seed=3)
        grafted = GraftedModel(recipient, {"sft": sft, "task": task, "lora": lora})
        _BUILT[family] = (
            grafted,
            Oracle(recipient, {"sft": sft, "task": task, "lora": lora.merge_and_unload()}),
        )
    return _BUILT[family]


def largest_difference(family: str, case: Case) -> float:
    """Between engine and oracle, over all prompts and schemes, relative to the largest logit."""
    grafted, oracle = built(family)
    logits = grafted.logits(case.prompts, case.schemes, token_budget=case.token_budget)
    scores = grafted.score(
        case.prompts, case.schemes, decode_route=case.decode_route, token_budget=case.token_budget
    )
    worst = []
    for i, prompt in enumerate(case.prompts):
        for j, scheme in enumerate(case.schemes):
            expected = oracle.logits(prompt, scheme, case.decode_route)
            targets = torch.tensor(prompt.target)
            logprobs = expected.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
            differences = [
                logits[i, j] - expected[0],
                scores.target_logit[i, j] - expected[0, targets[0]],
                scores.foil_logit[i, j] - expected[0, prompt.foil],
                scores.target_logprob[i, j] - logprobs[0],
                (scores.joint_logprob[i, j] - logprobs.sum()) / len(targets),
            ]
            largest = torch.stack([difference.abs().max() for difference in differences]).max()
            worst.append(largest / expected.abs().max())
            assert_same_choices(scores, i, j, expected, targets)
    return torch.stack(worst).max().item()  # torch's max, unlike Python's, keeps NaN


def assert_same_choices(
    scores: Scores, i: int, j: int, expected: torch.Tensor, targets: torch.Tensor
) -> None:
    """Rank, greedy token and exact match are the oracle's, up to logits that are equal within the tolerance.

    expected: the oracle's logits at every step of the target."""
    room = TOLERANCE * expected.abs().max()
    first, target = expected[0], expected[0, targets[0]]
    above, not_below = (first > target + room).sum(), (first > target - room).sum() - 1
    assert above <= scores.target_rank[i, j] - 1 <= not_below
    assert first[scores.top1_token[i, j]] >= first.max() - room
    wanted = expected.gather(1, targets[:, None])[:, 0]
    others = expected.scatter(1, targets[:, None], -torch.inf).amax(dim=1)
    if (wanted > others + room).all() or (wanted < others - room).any():
        assert scores.exact_match[i, j] == (wanted > others).all()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_packed_pass_equals_token_by_token(family: str):
    @seed(FAMILY_NAMES.index(family))
    @settings(
        max_examples=CASES_PER_FAMILY,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(drawn=CASES)
    def agree(drawn: dict):
        assert largest_difference(family, case_of(drawn, family)) <= TOLERANCE

    agree()


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_schemes_that_part_between_layers_equal_token_by_token(family: str):
    """Every scheme grafts single layers at some tokens, so that rows split between layers, in every case."""
    grafted, _ = built(family)
    draw = random.Random(0)
    for _ in range(4):
        tokens = [draw.randrange(VOCAB) for _ in range(draw.randint(3, 8))]
        sets = {name: draw.sample(range(len(tokens)), 2) for name in ("FE", "M")}
        grafts = [
            {
                "positions": draw.choice(["FE", "LT", "M", "FE+LT", "all"]),
                "components": draw.choice(["all", "ATTN", "O", "FFN", "q+down", "attn_norm+mlp_norm"]),
                "layers": str(layer),
                "donor": draw.choice(["sft", "task", "lora"]),
            }
            for layer in range(grafted.anatomy.n_layers)
            for _ in range(2)
        ]
        drawn = {
            "prompts": [{"tokens": tokens, "positions": sets, "target": tokens[:2], "foil": tokens[-1]}],
            "schemes": [[], *([graft] for graft in grafts), draw.sample(grafts, 2)],
            "decode_route": draw.choice(["last", "recipient", "sft"]),
            "token_budget": 4096,
        }
        case = case_of(drawn, family)
        assert splits(case, grafted) == 1
        assert largest_difference(family, case) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_component_layer_and_head_counts(family: str):
    """The random cases mean something: every single thing that can be grafted changes the logits."""
    grafted, _ = built(family)
    prompt = Prompt(tokens=(5, 17, 3, 40, 8, 21))
    donors = {name: Scheme(name, (Graft(positions="all", donor=name),)) for name in ("sft", "task", "lora")}
    single = {
        f"{name} {layer}": Scheme(
            name, (Graft(positions="all", components=name, layers=str(layer), donor="sft"),)
        )
        for name in grafted.anatomy.components
        if name not in ("embed", "final_norm", "unembed")
        for layer in range(grafted.anatomy.n_layers)
    }
    single |= {
        name: Scheme(name, (Graft(positions="all", components=name, donor="sft"),))
        for name in ("embed", "final_norm", "unembed")
    }
    single |= {
        f"{name} head {head}": Scheme(
            name, (Graft(positions="all", components=name, donor="sft", heads=(head,)),)
        )
        for name in "qkvo"
        for head in (0, grafted.anatomy.n_heads - 1)
    }
    schemes = [Scheme("PRE"), *donors.values(), *single.values()]
    logits = grafted.logits([prompt], schemes)[0]
    changes = (logits[1:] - logits[0]).abs().amax(dim=-1) / logits[0].abs().max()
    unchanged = [
        name for name, change in zip((*donors, *single), changes.tolist(), strict=True) if change < 1e-3
    ]
    assert not unchanged
