"""Donors made of two models: the same to the bit as models whose weights were mixed by hand."""

import copy

import pytest
import torch
from oracle import Oracle
from tiny_models import tiny_lora, tiny_model

from weightgraft import GraftedModel, Interpolated, Prompt, Sparse, parse_scheme

FAMILIES = ("gpt2", "gemma", "olmo2")
PROMPTS = [
    Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2)}, target=(3, 4), foil=5),
    Prompt(tokens=(22, 1, 33, 60, 2), positions={"FE": (2,)}, target=(8,), foil=6),
]
TEXTS = ("x:all", "x:FE", "x:FE+LT", "x:q+down@LT[1]", "sft:FE, x:K+O{0,1}@LT")


def mixed(pre, sft, mixture):
    """A copy of the recipient with each parameter replaced by a function of both."""
    made = copy.deepcopy(pre)
    theirs = dict(sft.named_parameters())
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(mixture(parameter, theirs[name]))
    return made


def changes_of(pre, sft) -> torch.Tensor:
    theirs = dict(sft.named_parameters())
    return torch.cat([(theirs[name] - p).detach().abs().flatten() for name, p in pre.named_parameters()])


def logits_of(pre, donors) -> torch.Tensor:
    return GraftedModel(pre, donors).logits(PROMPTS, [parse_scheme(text) for text in TEXTS])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_interpolated_donor_is_a_model_interpolated_by_hand(family):
    pre, sft = tiny_model(family, 0), tiny_model(family, 1)
    for strength in (0.25, 1.25):
        literal = mixed(pre, sft, lambda ours, theirs, a=strength: torch.lerp(ours, theirs, a))
        lazy = GraftedModel(pre, {"x": Interpolated(sft, strength), "sft": sft})
        schemes = [parse_scheme(text) for text in TEXTS]
        logits = lazy.logits(PROMPTS, schemes)
        assert torch.equal(logits, logits_of(pre, {"x": literal, "sft": sft}))
        assert (logits[:, 0] - logits_of(pre, {"x": sft, "sft": sft})[:, 0]).abs().max() > 0.1
        oracle = Oracle(pre, {"x": literal, "sft": sft})
        for row, prompt in zip(logits, PROMPTS, strict=True):
            for cell, scheme in zip(row, schemes, strict=True):
                expected = oracle.logits(prompt, scheme)[0]
                assert (cell - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_0_is_the_recipient_and_1_is_the_donor_to_the_bit(family):
    pre, sft = tiny_model(family, 0), tiny_model(family, 1)
    ends = [logits_of(pre, {"x": Interpolated(sft, strength), "sft": sft}) for strength in (0.0, 1.0)]
    plain = [logits_of(pre, {"x": model, "sft": sft}) for model in (copy.deepcopy(pre), sft)]
    assert not torch.equal(*plain)
    assert torch.equal(ends[0], plain[0]) and torch.equal(ends[1], plain[1])


def test_an_adapters_update_is_scaled():
    pre = tiny_model("llama", 0)
    lora = tiny_lora(pre, seed=3)
    merged = copy.deepcopy(lora).merge_and_unload()
    half = mixed(pre, merged, lambda ours, theirs: torch.lerp(ours, theirs, 0.5))
    expected = logits_of(pre, {"x": half, "sft": merged})
    found = logits_of(pre, {"x": Interpolated(lora, 0.5), "sft": lora})
    # Low-rank updates in place of merged ones: float32 sums in another order.
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found[:, 0] - logits_of(pre, {"x": lora, "sft": lora})[:, 0]).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_sparse_donor_is_a_model_masked_by_hand(family, share):
    pre, sft = tiny_model(family, 0), tiny_model(family, 1)
    sizes = changes_of(pre, sft)
    entries = int(share * sizes.numel())
    least = sizes.sort(descending=True).values[entries - 1] if entries else torch.inf
    assert int((sizes >= least).sum()) == entries  # no ties among these random weights
    literal = mixed(pre, sft, lambda ours, theirs: torch.where((theirs - ours).abs() >= least, theirs, ours))
    found = logits_of(pre, {"x": Sparse(sft, entries), "sft": sft})
    assert torch.equal(found, logits_of(pre, {"x": literal, "sft": sft}))
    if share == 1:
        assert torch.equal(found, logits_of(pre, {"x": sft, "sft": sft}))


def test_of_equal_changes_just_as_many_are_kept_as_were_asked_for():
    pre = tiny_model("llama", 0)
    sft = mixed(pre, pre, lambda ours, _: torch.where(ours > 0, ours.abs(), ours) * 0 + (ours > 0))
    pre = mixed(pre, pre, lambda ours, _: ours * 0)
    grafted = GraftedModel(pre, {"x": Sparse(sft, 1000)})
    kept = sum(
        int(getattr(leaf.leaves[1], name).count_nonzero())
        for leaf in grafted._backbone.modules()
        if hasattr(leaf, "leaves")
        for name, _ in leaf.leaves[0].named_parameters()
    ) + int(grafted._unembed.leaves[1].weight.count_nonzero())
    assert kept == 1000


def test_models_are_not_copied_and_not_changed():
    pre, sft = tiny_model("llama", 0), tiny_model("llama", 1)
    before = [parameter.clone() for model in (pre, sft) for parameter in model.parameters()]
    grafted = GraftedModel(pre, {"x": Interpolated(sft, 0.5), "few": Sparse(sft, 100)})
    grafted.logits(PROMPTS, [parse_scheme("x:FE, few:LT")])
    after = [parameter for model in (pre, sft) for parameter in model.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    for leaf in (module for module in grafted._backbone.modules() if hasattr(module, "leaves")):
        assert not any(made._parameters.get("weight") is not None for made in leaf.leaves[1:])


def test_mixtures_that_cannot_be_made_are_refused_in_one_line():
    pre, sft = tiny_model("llama", 0), tiny_model("llama", 1)
    for donor, words in (
        (Interpolated(sft, float("nan")), "donor 'x': strength is nan; give a finite number"),
        (Sparse(sft, 10**9), "donor 'x': 1000000000 entries; the models have 0 to "),
        (
            Sparse(tiny_lora(pre, 3), 10),
            "donor 'x': the largest changes of an adapter; give the merged model",
        ),
        (Interpolated(tiny_model("gpt2", 1), 0.5), "donor 'x' differs from the recipient in"),
    ):
        with pytest.raises(ValueError, match=words):
            GraftedModel(pre, {"x": donor})
