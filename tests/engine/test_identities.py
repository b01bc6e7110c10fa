"""Identities that hold for every family without an oracle."""

import pytest
import torch
from tiny_models import FAMILY_NAMES, tiny_model

from weightgraft import Graft, GraftedModel, Prompt, Scheme, parse_scheme

# Relative to the largest logit: float32 sums in another order.
TOLERANCE = 1e-5
PROMPTS = [
    Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2), "M": (4,)}),
    Prompt(tokens=(22, 1, 33, 60, 2, 8, 14, 0), positions={"FE": (2, 3, 4), "M": (6,)}),
]
PAPER = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
ALL_IN_PARTS = (
    "sft:FE, sft:FE^C",
    "sft:FE, sft:M, sft:LT, sft:(FE+M+LT)^C",
    "sft:EMBED@all, sft:NORM@all, sft:ATTN+O@all, sft:FFN@all, sft:UNEMBED@all",
    "sft:EMBED+FINAL_NORM+UNEMBED@all, sft:all[first_half], sft:all[second_half]",
    "sft:EMBED+FINAL_NORM+UNEMBED@all, sft:all[1/3], sft:all[2/3], sft:all[3/3]",
    "sft:all, recipient:FE, sft:FE",
)


def stock_logits(model, prompt: Prompt) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([prompt.tokens])).logits[0, -1]


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def models(request):
    pre, sft = tiny_model(request.param, seed=0), tiny_model(request.param, seed=1)
    for prompt in PROMPTS:
        difference = (stock_logits(pre, prompt) - stock_logits(sft, prompt)).abs().max()
        assert difference > 0.1 * stock_logits(pre, prompt).abs().max()
    return pre, sft


def test_grafting_nothing_gives_the_recipient(models):
    pre, sft = models
    logits = GraftedModel(pre, {"sft": sft}).logits(PROMPTS, [Scheme("PRE")])
    for row, prompt in zip(logits[:, 0], PROMPTS, strict=True):
        assert_close(row, stock_logits(pre, prompt))


def test_grafting_everything_gives_the_donor(models):
    pre, sft = models
    logits = GraftedModel(pre, {"sft": sft}).logits(PROMPTS, [parse_scheme("SFT", donor="sft")])
    for row, prompt in zip(logits[:, 0], PROMPTS, strict=True):
        assert_close(row, stock_logits(sft, prompt))


def test_parts_that_cover_everything_give_the_donor(models):
    pre, sft = models
    logits = GraftedModel(pre, {"sft": sft}).logits(PROMPTS, [parse_scheme(text) for text in ALL_IN_PARTS])
    for rows, prompt in zip(logits, PROMPTS, strict=True):
        for row in rows:
            assert_close(row, stock_logits(sft, prompt))


def test_swapping_the_models_is_taking_the_complement(models):
    pre, sft = models
    pairs = [("FE", "FE^C"), ("FE+LT", "(FE+LT)^C"), ("LT", "LT^C"), ("SFT", "PRE")]
    ours = GraftedModel(pre, {"x": sft}).logits(PROMPTS, [parse_scheme(one, donor="x") for one, _ in pairs])
    theirs = GraftedModel(sft, {"x": pre}).logits(
        PROMPTS, [parse_scheme(other, donor="x") for _, other in pairs]
    )
    assert_close(ours, theirs)
    for first in range(len(pairs)):
        for second in range(first):
            assert (ours[:, first] - ours[:, second]).abs().amax(dim=1).min() > 1e-2  # they are not all alike


def test_a_component_everywhere_is_the_recipient_with_that_component_replaced(models):
    pre, sft = models
    components = [parse_scheme(f"{name}@all", donor="sft") for name in ("q", "k", "v", "o", "up", "down")]
    others = [
        Scheme(f"all but {scheme}", (Graft(positions="all", donor="x"), *recipient_back(scheme)))
        for scheme in components
    ]
    ours = GraftedModel(pre, {"sft": sft}).logits(PROMPTS, components)
    theirs = GraftedModel(sft, {"x": pre}).logits(PROMPTS, others)
    assert_close(ours, theirs)


def recipient_back(scheme: Scheme) -> tuple[Graft, ...]:
    return tuple(
        Graft(positions=graft.positions, components=graft.components, donor="recipient")
        for graft in scheme.grafts
    )


def test_a_batch_gives_what_its_prompts_give_alone(models):
    pre, sft = models
    grafted = GraftedModel(pre, {"sft": sft})
    schemes = [parse_scheme(text, donor="sft") for text in PAPER]
    together = grafted.logits(PROMPTS * 3, schemes)
    assert_close(together, grafted.logits(PROMPTS * 3, schemes, token_budget=1))
    for row, prompt in zip(together, PROMPTS * 3, strict=True):
        for cell, scheme in zip(row, schemes, strict=True):
            assert_close(cell, grafted.logits([prompt], [scheme])[0, 0])
