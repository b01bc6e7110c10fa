"""A peft model is grafted as it stands: which of its adapters serves, each of its modules knows. What of it runs otherwise than its
classes say is refused with what to do."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import PROMPT, SCHEMES, TOLERANCE, plain
from peft import LoraConfig, PeftMixedModel
from tiny_models import tiny_lora, tiny_model
from torch import nn

from weightgraft import GraftedModel
from weightgraft.notes import gathered

BASE = tiny_model("llama", 0)


def sft_score(donor: Any) -> float:
    return GraftedModel(BASE, {"sft": donor}).score([PROMPT], SCHEMES).joint_logprob[0, 1].item()


def two_adapters(**options: Any) -> Any:
    """A peft model with two trained adapters, the first of them active."""
    model = tiny_lora(BASE, 1, **options)
    model.add_adapter("second", LoraConfig(r=3, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(5)
    for name, parameter in model.named_parameters():
        if ".second." in name or "modules_to_save" in name:
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def query(model: Any) -> Any:
    return model.get_base_model().model.layers[1].self_attn.q_proj


def another_in_one_layer(model: Any) -> None:
    query(model).set_adapter("second")


def none_in_one_layer(model: Any) -> None:
    query(model).set_adapter([])


def both_in_one_layer(model: Any) -> None:
    query(model).set_adapter(["default", "second"])


def both(model: Any) -> None:
    model.base_model.set_adapter(["default", "second"])


def another_everywhere(model: Any) -> None:
    model.set_adapter("second")


def rescaled(model: Any) -> None:
    query(model).scale_layer(3.0)


def head_of_the_base(model: Any) -> None:
    model.get_base_model().lm_head.set_adapter([])


SERVED = [
    another_in_one_layer,
    none_in_one_layer,
    both_in_one_layer,
    another_everywhere,
    rescaled,
    head_of_the_base,
]


@pytest.mark.parametrize("change", [*SERVED, both])
def test_adapters_that_are_active_in_some_modules_serve_there(change):
    model = two_adapters(**({} if change is both else {"modules_to_save": ["lm_head"]}))
    before = plain(model)
    change(model)
    after = plain(model)
    assert abs(after - before) > 10 * TOLERANCE
    with gathered() as notes:
        assert abs(sft_score(model) - after) <= TOLERANCE
    mixed = change in (another_in_one_layer, none_in_one_layer, both_in_one_layer)
    assert any("its layers have different adapters active (" in note for note in notes) == mixed, notes


def test_a_peft_model_without_an_active_adapter_is_its_base_and_says_so():
    model = two_adapters()
    model.base_model.set_adapter([])
    with gathered() as notes:
        assert abs(sft_score(model) - plain(BASE)) <= TOLERANCE
    assert any("none of its adapters is active, so SFT is PRE" in note for note in notes), notes


def head_switched_off(model: Any) -> None:
    model.get_base_model().lm_head.enable_adapters(False)


def layer_switched_off(model: Any) -> None:
    query(model).enable_adapters(False)


def layer_merged(model: Any) -> None:
    query(model).merge()


def steered(module: Any) -> None:
    module.register_forward_hook(lambda _, given, output: output)


def hook_around(model: Any) -> None:
    steered(model)


def hook_on_lora_model(model: Any) -> None:
    steered(model.base_model)


def hook_in_an_adapter(model: Any) -> None:
    steered(query(model).lora_A["default"])


def hook_on_dropout(model: Any) -> None:
    steered(query(model).lora_dropout["default"])


def hook_on_a_base_layer(model: Any) -> None:
    steered(query(model).base_layer)


def patched_around(model: Any) -> None:
    """As accelerate does to train in mixed precision."""
    forward = model.forward
    model.forward = lambda *given, **more: forward(*given, **more)


def patched_layer(model: Any) -> None:
    query(model).forward = query(model).base_layer.forward


def not_linear(model: Any) -> None:
    query(model).lora_A["default"].__class__ = type("Twice", (nn.Linear,), {})


def of_two_types(model: Any) -> None:
    query(model).lora_B["default"].bfloat16()


def another_dropout(model: Any) -> None:
    query(model).lora_dropout["default"] = nn.Tanh()


def head_of_another_type(model: Any) -> None:
    model.get_base_model().lm_head.modules_to_save.bfloat16()


def base_of_another_type(model: Any) -> None:
    model.bfloat16()


REFUSED: dict[Callable[[Any], None], str] = {
    head_switched_off: "lm_head: it is switched off; leave the disable_adapter.. block",
    layer_switched_off: "q_proj: it is switched off; .*enable_adapter_layers",
    layer_merged: "q_proj: it is merged into the base, which that has changed; load",
    hook_around: r"the model \(PeftModelForCausalLM\) has a forward hook, .*remove it",
    hook_on_lora_model: "base_model .* has a forward hook",
    hook_in_an_adapter: "q_proj.lora_A.default .* has a forward hook",
    hook_on_dropout: "q_proj.lora_dropout.default .* has a forward hook",
    hook_on_a_base_layer: "q_proj.base_layer .* has a forward hook",
    patched_around: r"the model \(PeftModelForCausalLM\) has another forward than its class",
    patched_layer: "q_proj .* has another forward than its class",
    not_linear: "its A or B is a Twice, not a Linear",
    of_two_types: "its A and B are torch.bfloat16 and torch.float32; bring them to one type",
    another_dropout: "a Tanh in the place of its dropout",
    head_of_another_type: "lm_head: its saved module has another class, shape, type or device",
    base_of_another_type: "type of its weights: torch.bfloat16, recipient torch.float32; load both",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_a_peft_model_that_computes_more_or_less_than_its_adapters_is_refused(change):
    model = two_adapters(modules_to_save=["lm_head"])
    change(model)
    with pytest.raises(ValueError, match=rf"^donor 'sft'.*{REFUSED[change]}"):
        sft_score(model)


def test_an_adapter_whose_base_has_added_tokens_serves_the_rows_that_both_have():
    grown = copy.deepcopy(BASE)
    grown.resize_token_embeddings(64, mean_resizing=False)
    model = tiny_lora(grown, 1)
    with gathered() as notes:
        scores = GraftedModel(BASE, {"sft": model}).logits([PROMPT], SCHEMES)[0, 1]
    with torch.no_grad():
        own = model(input_ids=torch.tensor([[*PROMPT.tokens]])).logits[0, -1]
    assert torch.allclose(scores, own[:61], atol=TOLERANCE) and len(own) == 64
    assert any("rows of embedding and unembedding: sft 64" in note for note in notes), notes


def test_a_base_that_was_merged_into_is_another_one_and_the_cure_is_said():
    model = two_adapters()
    model.merge_adapter()
    model.unmerge_adapter()
    with pytest.raises(
        ValueError, match=r"its base differs .*; give as recipient the very weights .*, loaded anew"
    ):
        sft_score(model)


def test_a_model_inside_its_disable_adapter_block_is_refused():
    model = two_adapters(modules_to_save=["lm_head"])
    with model.disable_adapter(), pytest.raises(ValueError, match="it is switched off; leave the"):
        sft_score(model)
    assert abs(sft_score(model) - plain(model)) <= TOLERANCE


def test_transformers_own_adapters_serve_unless_they_are_switched_off():
    model = copy.deepcopy(BASE)
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    assert abs(sft_score(model) - plain(model)) <= TOLERANCE
    assert abs(plain(model) - plain(BASE)) > TOLERANCE
    model.disable_adapters()
    with pytest.raises(ValueError, match=r"it is switched off; .*model.enable_adapters\(\)"):
        sft_score(model)


def test_what_is_beside_a_peft_model_is_refused_with_the_cure():
    compiled = two_adapters()
    compiled.__dict__["_orig_mod"] = compiled  # as torch.compile has it
    mixed = PeftMixedModel(copy.deepcopy(BASE), LoraConfig(r=2, target_modules=["q_proj"]))
    for donor, cure in (
        (two_adapters().base_model, "a LoraModel of peft; give the PeftModel"),
        (mixed, "a PeftMixedModel of peft; give the PeftModel"),
        (compiled, "give model._orig_mod"),
    ):
        with pytest.raises(ValueError, match=cure):
            sft_score(donor)
