"""The models that were passed in stay as they were, and nothing stays alive or is copied."""

import copy
import gc
import weakref

import pytest
import torch
from tiny_models import FAMILY_NAMES, tiny_lora, tiny_model
from torch import Tensor, nn

from weightgraft import GraftedModel, Prompt, parse_scheme

SCHEMES = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT", "FE", "O+q{1}@LT", "k@all[1]")]


def state_of(model: nn.Module) -> dict:
    """All there is to a model: tensors (also their addresses), modules, hooks, modes, config."""
    return {
        "tensors": {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in tensors_of(model).items()},
        "flags": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "modules": {
            name: (id(module), type(module), module.training, sorted(vars(module)), hooks_of(module))
            for name, module in model.named_modules()
        },
        "config": copy.deepcopy(vars(model.config)),
    }


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )


def hooks_of(module: nn.Module) -> list[int]:
    return [len(value) for name, value in sorted(vars(module).items()) if name.endswith("_hooks")]


def assert_same_state(before: dict, after: dict) -> None:
    for name, (address, tensor) in before["tensors"].items():
        assert after["tensors"][name][0] == address
        assert torch.equal(after["tensors"][name][1], tensor)
    for what in ("flags", "modules", "config"):
        assert after[what] == before[what]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_scoring_changes_no_model(family, prompts):
    pre, sft = tiny_model(family, 0).train(), tiny_model(family, 1)
    before = state_of(pre), state_of(sft)
    grafted = GraftedModel(pre, {"sft": sft})
    grafted.score(prompts, SCHEMES)
    assert_same_state(before[0], state_of(pre))
    assert_same_state(before[1], state_of(sft))
    assert pre.training and pre.config._attn_implementation != "packed_grafting"


def test_a_recipient_in_training_mode_is_scored_without_dropout(prompts):
    pre, sft = tiny_model("gpt2", 0, resid_pdrop=0.5), tiny_model("gpt2", 1, resid_pdrop=0.5)
    expected = GraftedModel(pre, {"sft": sft}).score(prompts, SCHEMES).target_logit
    actual = GraftedModel(pre.train(), {"sft": sft.train()}).score(prompts, SCHEMES).target_logit
    assert torch.equal(actual, expected)


def test_a_pass_that_fails_leaves_no_trace(prompts):
    pre, sft = tiny_model("llama", 0), tiny_model("llama", 1)
    grafted = GraftedModel(pre, {"sft": sft})
    expected = grafted.score(prompts, SCHEMES).target_logit
    before = state_of(pre), state_of(sft)

    def fail(*_: object) -> None:
        raise RuntimeError("in the middle of a pass")

    gc.collect()
    alive = live_tensors()
    hook = sft.model.layers[1].input_layernorm.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle of a pass"):
        grafted.score(prompts, SCHEMES)
    hook.remove()
    gc.collect()
    assert live_tensors() == alive
    assert_same_state(before[0], state_of(pre))
    assert_same_state(before[1], state_of(sft))
    for routing in (grafted._trunk, grafted._last, grafted._readout):
        assert not routing.groups.servings and not routing._pieces
    assert torch.equal(grafted.score(prompts, SCHEMES).target_logit, expected)


def test_a_pass_that_changes_the_rotary_frequencies_changes_none_of_the_recipients():
    """Long-context Phi-3 swaps them when a prompt is longer or shorter than the last one was."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 3,
        "long_factor": [4.0] * 3,
    }
    changes = {"max_position_embeddings": 64, "original_max_position_embeddings": 16, "rope_parameters": rope}
    pre, sft = (tiny_model("phi3", seed, **changes) for seed in (0, 1))
    short, long = (Prompt(tokens=range(length), positions={"FE": (1,)}, target=(5,)) for length in (9, 30))
    with torch.no_grad():
        pre(input_ids=torch.tensor([long.tokens]))  # the recipient's now are those of long prompts
    before = state_of(pre)
    scores = GraftedModel(pre, {"sft": sft}).score([short], SCHEMES[:2])
    assert_same_state(before, state_of(pre))
    with torch.no_grad():
        expected = pre(input_ids=torch.tensor([short.tokens])).logits[0, -1, 5]
    assert not torch.equal(before["tensors"]["model.rotary_emb.inv_freq"][1], pre.model.rotary_emb.inv_freq)
    assert scores.target_logit[0, 0].item() == pytest.approx(
        expected.item(), abs=1e-5
    )  # float32, logits of size 1


def test_dropping_the_grafted_model_frees_everything(prompts):
    pre, sft = tiny_model("gemma", 0), tiny_model("gemma", 1)
    gc.collect()
    before = live_tensors()
    grafted = GraftedModel(pre, {"sft": sft})
    grafted.score(prompts, SCHEMES)
    gone = [weakref.ref(grafted), weakref.ref(grafted._backbone), weakref.ref(grafted._unembed)]
    del grafted
    gc.collect()
    assert [reference() for reference in gone] == [None] * 3
    assert live_tensors() == before
    models = [weakref.ref(pre), weakref.ref(sft)]
    del pre, sft
    gc.collect()
    assert [reference() for reference in models] == [None] * 2


def live_tensors() -> int:
    return sum(isinstance(thing, Tensor) for thing in gc.get_objects())


def own_numbers(grafted: GraftedModel, *models: nn.Module) -> int:
    """How many numbers a grafted model holds that are not the models' own, but for the recipient's buffers, which are few."""
    theirs = {
        tensor.untyped_storage().data_ptr() for model in models for tensor in tensors_of(model).values()
    }
    own = {}
    for module in (*grafted._backbone.modules(), grafted._unembed, grafted._final_norm):
        held = [module, *getattr(module, "leaves", ())]
        held += [update for update in getattr(module, "updates", ()) if update is not None]
        for holder in held:
            tensors = holder.parameters() if isinstance(holder, nn.Module) else (holder.a, holder.b)
            own |= {tensor.untyped_storage().data_ptr(): tensor.numel() for tensor in tensors}
    return sum(numbers for address, numbers in own.items() if address not in theirs)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_dense_donors_are_not_copied(family):
    pre, sft = tiny_model(family, 0), tiny_model(family, 1)
    assert own_numbers(GraftedModel(pre, {"sft": sft}), pre, sft) == 0


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_lora_donor_costs_its_factors_and_nothing_more(family):
    pre = tiny_model(family, 0)
    lora = tiny_lora(pre, 1)
    factors = sum(parameter.numel() for name, parameter in lora.named_parameters() if "lora_" in name)
    grafted = GraftedModel(pre, {"lora": lora})
    del lora
    assert own_numbers(grafted, pre) == factors
