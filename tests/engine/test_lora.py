"""LoRA donors: low-rank, from a peft model or a directory, refused where they are more than that."""

import pytest
import torch
from tiny_models import tiny_lora, tiny_model
from torch import nn

from weightgraft import GraftedModel, parse_scheme

SCHEMES = [
    parse_scheme(text, donor="lora") for text in ("PRE", "SFT", "FE", "FE, sft:LT", "q+o{0,2}@LT", "up@FE[0]")
]
# Relative to the largest logit: float32, W x + B(A x) against (W + BA) x.
TOLERANCE = 1e-5


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "phi3"])
def test_a_directory_does_as_the_peft_model_and_as_the_merged_model(family, prompts, tmp_path):
    pre, sft = tiny_model(family, 0), tiny_model(family, 1)
    options = {} if family == "gpt_neox" else {"rank_pattern": {".*proj": 2}, "alpha_pattern": {".*proj": 3}}
    lora = tiny_lora(pre, 2, use_rslora=True, **options)
    lora.save_pretrained(tmp_path)
    from_model = GraftedModel(pre, {"sft": sft, "lora": lora}).logits(prompts, SCHEMES)
    from_directory = GraftedModel(pre, {"sft": sft, "lora": tmp_path}).logits(prompts, SCHEMES)
    merged = GraftedModel(pre, {"sft": sft, "lora": lora.merge_and_unload()}).logits(prompts, SCHEMES)
    assert (from_model[:, 1] - from_model[:, 0]).abs().max() > 0.1
    assert torch.equal(from_directory, from_model)
    assert (from_model - merged).abs().max() <= TOLERANCE * merged.abs().max()


def test_loading_a_directory_changes_no_model(prompts, tmp_path):
    pre = tiny_model("llama", 0)
    tiny_lora(pre, 2, modules_to_save=["lm_head"]).save_pretrained(tmp_path)
    before = {name: parameter.clone() for name, parameter in pre.named_parameters()}
    GraftedModel(pre, {"lora": tmp_path})
    for name, parameter in pre.named_parameters():
        assert parameter.requires_grad and torch.equal(parameter, before[name])


def test_saved_modules_belong_to_the_donor(prompts, tmp_path):
    pre = tiny_model("llama", 0, tie_word_embeddings=False)
    lora = tiny_lora(pre, 2, modules_to_save=["lm_head", "norm"])
    for name, parameter in lora.named_parameters():
        if "modules_to_save" in name:
            nn.init.normal_(parameter)
    lora.save_pretrained(tmp_path)
    schemes = [parse_scheme(text, donor="lora") for text in ("PRE", "SFT", "unembed@LT", "final_norm@LT")]
    from_model = GraftedModel(pre, {"lora": lora}).logits(prompts, schemes)
    from_directory = GraftedModel(pre, {"lora": tmp_path}).logits(prompts, schemes)
    merged = GraftedModel(pre, {"lora": lora.merge_and_unload()}).logits(prompts, schemes)
    for scheme in (1, 2, 3):
        assert (merged[:, scheme] - merged[:, 0]).abs().max() > 0.1
    assert torch.equal(from_directory, from_model)
    assert (from_model - merged).abs().max() <= TOLERANCE * merged.abs().max()


def test_active_adapters_add_up(prompts):
    pre = tiny_model("llama", 0)
    lora = tiny_lora(pre, 2)
    one = GraftedModel(pre, {"lora": lora}).logits(prompts, SCHEMES[:3])
    lora.add_adapter("second", lora.peft_config["default"])
    for name, parameter in lora.named_parameters():
        if ".second." in name:
            nn.init.normal_(parameter, std=0.25)
    lora.base_model.set_adapter(["default", "second"])
    both = GraftedModel(pre, {"lora": lora}).logits(prompts, SCHEMES[:3])
    merged = GraftedModel(pre, {"lora": lora.merge_and_unload()}).logits(prompts, SCHEMES[:3])
    assert (both - one).abs().max() > 0.1
    assert (both - merged).abs().max() <= TOLERANCE * merged.abs().max()


def test_adapters_that_are_more_than_low_rank_are_refused():
    pre = tiny_model("llama", 0)
    more = {
        "acts only after certain tokens": {"alora_invocation_tokens": [3], "target_modules": ["q_proj"]},
        "its B has a bias": {"lora_bias": True},
        "not a Linear": {"target_modules": ["embed_tokens"]},
    }
    for reason, options in more.items():
        with pytest.raises(ValueError, match=f"donor 'x': .*{reason}.*; merge it into its base"):
            GraftedModel(pre, {"x": tiny_lora(pre, 1, **options)})


def test_a_merged_adapter_is_refused():
    pre = tiny_model("llama", 0)
    lora = tiny_lora(pre, 1)
    lora.merge_adapter()
    with pytest.raises(ValueError, match=r"merged into the base, .* load base and adapter anew"):
        GraftedModel(pre, {"x": lora})


def test_an_adapter_on_another_base_is_refused():
    pre, other = tiny_model("llama", 0), tiny_model("llama", 1)
    with pytest.raises(
        ValueError, match=r"donor 'x': its base differs from the recipient in model\.embed_tokens\.weight"
    ):
        GraftedModel(pre, {"x": tiny_lora(other, 1)})


def test_trained_biases_of_the_base_are_refused(tmp_path):
    pre = tiny_model("gpt2", 0)
    lora = tiny_lora(pre, 1, bias="all")
    with torch.no_grad():
        for name, parameter in lora.named_parameters():
            if name.endswith("bias"):
                parameter += 1.0
    lora.save_pretrained(tmp_path)
    before = {name: parameter.clone() for name, parameter in pre.named_parameters()}
    for donor in (lora, tmp_path):
        with pytest.raises(ValueError, match=r"donor 'x': its base differs from the recipient in .*bias"):
            GraftedModel(pre, {"x": donor})
    for name, parameter in pre.named_parameters():
        assert parameter.requires_grad and torch.equal(parameter, before[name])


def test_a_recipient_that_peft_has_changed_is_refused():
    pre = tiny_model("llama", 0)
    with pytest.raises(ValueError, match=r"q_proj is a peft\.tuners\.lora\.layer\.Linear"):
        GraftedModel(tiny_lora(pre, 1).get_base_model(), {})


def test_a_directory_without_adapter_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"donor 'x': .*: no adapter_config\.json"):
        GraftedModel(tiny_model("llama", 0), {"x": tmp_path})
