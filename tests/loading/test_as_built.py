"""A model whose modules and config no longer say one thing, or are no longer what they were: right, or one line."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import PROMPT, SCHEMES, TOLERANCE, plain
from test_wrappers import wrapper
from tiny_models import FAMILY_NAMES, tiny_lora, tiny_model
from torch import nn
from transformers import AutoModelForCausalLM

from weightgraft import GraftedModel
from weightgraft.engine.as_built import as_configured
from weightgraft.engine.attention import PACKED
from weightgraft.engine.clone import shallow_clone

Pair = tuple[Any, Any]


def pair(family: str = "llama", **changes: Any) -> Pair:
    return tiny_model(family, 0, **changes), tiny_model(family, 1, **changes)


def scores(recipient: Any, donor: Any) -> tuple[float, float]:
    pre, sft = GraftedModel(recipient, {"sft": donor}).score([PROMPT], SCHEMES).joint_logprob[0].tolist()
    return pre, sft


def layer_copied(models: Pair) -> None:
    layers = models[0].model.layers
    layers[1] = copy.deepcopy(layers[1])


def decoder_copied(models: Pair) -> None:
    models[0].model = copy.deepcopy(models[0].model)


def layer_of_another(models: Pair) -> None:
    models[0].model.layers[2] = tiny_model(models[0].config.model_type, 7).model.layers[2]


def config_copied(models: Pair) -> None:
    """As where a text model is taken out of its wrapper."""
    models[0].config = copy.deepcopy(models[0].config)


@pytest.mark.parametrize("change", [layer_copied, decoder_copied, layer_of_another, config_copied])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text"])
def test_modules_with_a_config_object_of_their_own_give_what_they_give_alone(family, change):
    models = pair(family)
    change(models)
    configs = {id(module.config) for module in models[0].modules() if hasattr(module, "config")}
    assert len(configs) == 2
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)
    assert {id(module.config) for module in models[0].modules() if hasattr(module, "config")} == configs
    assert models[0].config._attn_implementation != PACKED


def test_a_layer_that_asks_for_another_attention_than_its_model_is_refused():
    """It would get the masks of the model's: eager attention none at all, where sdpa needs none."""
    models = pair()
    models[0].model.layers[1] = tiny_model("llama", 7, attn_implementation="eager").model.layers[1]
    with pytest.raises(ValueError, match=r"^recipient: model.layers.1.* in _attn_implementation: 'eager'"):
        scores(*models)


@pytest.mark.parametrize("place", [0, 1])
def test_modules_with_a_config_that_says_something_else_are_refused(place):
    models = pair("mistral")
    models[place].model.layers[1] = tiny_model("mistral", 7, sliding_window=3).model.layers[1]
    what = "recipient" if place == 0 else "donor 'sft'"
    with pytest.raises(
        ValueError,
        match=rf"^{what}: model.layers.1.self_attn reads a config of its own, .* sliding_window: 3",
    ):
        scores(*models)


def entry(name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model.config, name, value)


def attribute(path: str, name: str, value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model.get_submodule(path), name, value)


WINDOWED = {"sliding_window": 64, "use_sliding_window": True, "layer_types": ["sliding_attention"] * 3}
CHANGED = {
    "a window": ("qwen2", WINDOWED, entry("sliding_window", 4), "layers.0.self_attn .* has sliding_window 64, .* 4"),
    "a window's place": (
        "gemma2", {}, attribute("model.layers.0.self_attn", "sliding_window", None), "has sliding_window None, .* 4",
    ),
    "causality": ("llama", {}, attribute("model.layers.0.self_attn", "is_causal", False), "has is_causal False"),
    "a norm": ("llama", {}, entry("rms_norm_eps", 0.1), "has variance_epsilon 1e-06, by its config it has 0.1"),
    "a scale": ("gemma2", {}, entry("query_pre_attn_scalar", 4), "layers.0.self_attn .* has scaling 0.3"),
    "heads": ("qwen3", {}, entry("num_attention_heads", 8), "has num_key_value_groups 2, by its config it has 4"),
    "positions": ("gpt2", {}, entry("n_positions", 128), "transformer.wpe .* has num_embeddings 64, by its config it has 128"),
    "no model": ("llama", {}, entry("hidden_act", "nonesuch"), "transformers builds no model of its config"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGED)
def test_what_was_changed_alike_in_all_models_after_they_were_built_is_refused(case):
    family, settings, change, told = CHANGED[case]
    models = pair(family, **settings)
    for model in models:
        change(model)
    with pytest.raises(ValueError, match=rf"^recipient: .*{told}"):
        scores(*models)


@pytest.mark.parametrize("give", [lambda model, _: model, lambda _, recipient: tiny_lora(recipient, 3)])
def test_a_donor_of_another_config_than_it_was_built_of_is_refused(give):
    """Where its config was made to say what the recipient's says."""
    recipient, other = (
        tiny_model("qwen2", 0, **WINDOWED),
        tiny_model("qwen2", 1, **WINDOWED | {"sliding_window": 4}),
    )
    other.config.sliding_window = 64
    donor = give(other, recipient)
    if donor is not other:
        donor.get_base_model().model.layers[1].self_attn.sliding_window = 4
    with pytest.raises(ValueError, match=r"^donor 'sft' .*self_attn.* sliding_window"):
        scores(recipient, donor)


def test_a_donor_whose_own_scale_of_logits_is_not_its_configs_is_refused():
    recipient, donor = pair("cohere2")
    before = plain(donor)
    donor.logit_scale *= 2
    assert abs(plain(donor) - before) > 100 * TOLERANCE
    with pytest.raises(
        ValueError, match=r"^donor 'sft': the model .* has logit_scale 1.0, by its config it has 0.5"
    ):
        scores(recipient, donor)


def test_numbers_in_the_place_of_one_are_another_scale():
    recipient, donor = pair()
    with pytest.raises(ValueError, match=r"^recipient: model.layers.1.self_attn .* has scaling tensor"):
        other = pair()[0]
        other.model.layers[1].self_attn.scaling = torch.ones(3)
        scores(other, donor)
    donor.model.layers[1].self_attn.scaling = torch.ones(3)
    with pytest.raises(ValueError, match=r"^donor 'sft' .* model.layers.1.self_attn, its scaling"):
        scores(recipient, donor)


def hung(model: Any) -> None:
    """As unsloth, trainers and collators do."""
    model.max_seq_length = model.model.max_seq_length = 2048
    model.model.layers[0].self_attn.max_seq_length = 2048
    model.model.layers[1].mlp.note = "seen"


def padded_beyond(model: Any) -> None:
    model.config.pad_token_id = 99999


def typed(model: Any) -> None:
    model.config.dtype = "auto"
    model.config.max_position_embeddings = 2**20
    model.config.tie_word_embeddings = not model.config.tie_word_embeddings


def of_mixed_keys(model: Any) -> None:
    model.config.table = {1: "a", "b": 2}


def trained(model: Any) -> None:
    model.train()
    model.config.attention_dropout = 0.1
    model.config.use_cache = False


def without_final_weights(model: Any) -> None:
    model.model.norm = nn.LayerNorm(24, elementwise_affine=False)


@pytest.mark.parametrize("change", [hung, padded_beyond, typed, of_mixed_keys, trained])
@pytest.mark.parametrize("places", [[0], [1], [0, 1]])
def test_what_changes_no_number_is_no_reason_to_refuse(change, places):
    models = pair()
    right = [plain(model) for model in models]
    for place in places:
        change(models[place])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scores(*models) == pytest.approx(right, abs=TOLERANCE)


def test_final_norms_without_weights_are_accepted():
    models = pair()
    for model in models:
        without_final_weights(model)
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_building_anew_draws_no_random_number_and_is_remembered(family):
    model = tiny_model(family, 0)
    before = torch.get_rng_state()
    built = as_configured("recipient", model)
    assert torch.equal(torch.get_rng_state(), before)
    assert built is not None and built.keys() == dict(model.named_modules()).keys()
    assert as_configured("recipient", tiny_model(family, 1)) is built


def test_the_clone_reads_one_config_which_is_not_the_models():
    model = tiny_model("llama", 0)
    layer_copied((model, None))
    configs = {id(module.config) for module in shallow_clone(model).modules() if hasattr(module, "config")}
    assert len(configs) == 1 and id(model.config) not in configs


def test_a_text_model_in_the_head_of_another_is_what_it_is_alone():
    """A decoder that was put under a head by hand: two configs, one meaning."""
    recipient, donor = pair("gemma3_text")
    put: Any = AutoModelForCausalLM.from_config(copy.deepcopy(recipient.config)).eval()
    put.model, put.lm_head = recipient.model, recipient.lm_head
    assert put.config is not put.model.config
    assert scores(put, donor) == pytest.approx((plain(recipient), plain(donor)), abs=TOLERANCE)


def test_a_wrapper_is_told_to_be_one_and_not_that_its_parts_have_configs():
    with pytest.raises(ValueError, match=r"^recipient: a Gemma3ForConditionalGeneration around a text model"):
        GraftedModel(wrapper("gemma3", 0), {})
