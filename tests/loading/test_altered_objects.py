"""Parts that stand in two places, weights that are computed of others, frequencies that have grown, a number of layers that is not
the config's, a type that is changed afterwards: right, or one line."""

import copy
import threading
from typing import Any

import pytest
import torch
from checkpoints import PROMPT, SCHEMES, TOLERANCE, plain
from tiny_models import tiny_lora, tiny_model
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from weightgraft import GraftedModel, Prompt, parse_scheme

Pair = tuple[Any, Any]
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}


def pair(family: str = "llama", **changes: Any) -> Pair:
    return tiny_model(family, 0, **changes), tiny_model(family, 1, **changes)


def scores(recipient: Any, donor: Any) -> tuple[float, float]:
    pre, sft = GraftedModel(recipient, {"sft": donor}).score([PROMPT], SCHEMES).joint_logprob[0].tolist()
    return pre, sft


@pytest.mark.parametrize("place", [0, 1])
def test_an_mlp_that_stands_in_two_places_serves_both(place):
    """Also where only one of the places is grafted, and where one of them is in the last layer."""
    models = pair()
    layers = models[place].model.layers
    layers[2].mlp = layers[0].mlp
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)
    apart = copy.deepcopy(models[place])
    apart.model.layers[2].mlp = copy.deepcopy(apart.model.layers[0].mlp)
    schemes = [parse_scheme(text, donor="sft") for text in ("FFN@all[0]", "FFN@LT[2]", "up@FE[0]")]
    others = [apart if number == place else model for number, model in enumerate(models)]
    ours, right = (
        GraftedModel(recipient, {"sft": donor}).logits([PROMPT], schemes)
        for recipient, donor in (models, others)
    )
    assert torch.equal(ours, right)


@pytest.mark.parametrize("place", [0, 1])
def test_a_sparse_weight_is_no_plain_one(place):
    models = [tiny_model("llama", seed) for seed in (0, 1)]
    projection = models[place].model.layers[0].mlp.up_proj
    projection.weight = torch.nn.Parameter(projection.weight.detach().to_sparse())
    with pytest.raises(ValueError, match=r"up_proj.weight is torch.sparse_coo; grafting needs plain weights"):
        GraftedModel(models[0], {"sft": models[1]})


def test_a_block_that_stands_in_two_places_is_refused():
    recipient, donor = pair()
    donor.model.layers[2] = donor.model.layers[0]
    with pytest.raises(ValueError, match=r"^donor 'sft' .*model.layers.2.self_attn, its layer_idx: 0"):
        scores(recipient, donor)
    with pytest.raises(ValueError, match=r"^recipient: the layer in place 2 was built as layer 0"):
        scores(donor, recipient)


@pytest.mark.parametrize("places", [[0], [1], [0, 1]])
def test_rotary_frequencies_that_have_grown_are_those_of_short_prompts(places):
    """At the longest prompt, transformers itself keeps what a longer one has left."""
    models = pair(rope_parameters=DYNAMIC, max_position_embeddings=8)
    right = [plain(model) for model in models]
    for place in places:
        models[place](torch.arange(40)[None])
        assert models[place].model.rotary_emb.max_seq_len_cached == 40
    assert scores(*models) == pytest.approx(right, abs=TOLERANCE)
    full, left = Prompt(tokens=(*PROMPT.tokens, 30, 11)), models[places[0]].model.rotary_emb.inv_freq.clone()
    of_short = GraftedModel(*_named(pair(rope_parameters=DYNAMIC, max_position_embeddings=8))).logits(
        [full], SCHEMES
    )
    assert torch.equal(GraftedModel(*_named(models)).logits([full], SCHEMES), of_short)
    assert torch.equal(models[places[0]].model.rotary_emb.inv_freq, left)


def _named(models: Pair) -> tuple[Any, dict[str, Any]]:
    return models[0], {"sft": models[1]}


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (0, lambda model: model.to(torch.bfloat16)),
        (1, lambda model: model.half()),
        (1, lambda model: model.lm_head.to("meta")),
        (0, lambda model: model.to("meta")),
    ],
)
def test_a_model_that_is_changed_in_type_or_device_afterwards_is_refused(place, change):
    models = pair()
    grafted = GraftedModel(*_named(models))
    grafted.score([PROMPT], SCHEMES)
    change(models[place])
    what = "recipient" if place == 0 else "donor 'sft'"
    for ask in (grafted.score, grafted.logits):
        with pytest.raises(
            ValueError, match=f"^{what} was changed after it was given: .*make GraftedModel anew"
        ):
            ask([PROMPT], SCHEMES)


def test_a_peft_model_may_go_once_its_adapter_was_taken():
    """Its A and B were copied; a module that it saved was not."""
    base = tiny_model("llama", 0)
    for saved in ([], ["lm_head"]):
        lora = tiny_lora(base, 1, modules_to_save=saved)
        grafted = GraftedModel(base, {"sft": lora})
        right = grafted.logits([PROMPT], SCHEMES)
        lora.to(torch.bfloat16)
        if saved:
            with pytest.raises(ValueError, match=r"^donor 'sft' was changed after it was given"):
                grafted.logits([PROMPT], SCHEMES)
        else:
            assert torch.equal(grafted.logits([PROMPT], SCHEMES), right)


COMPUTED = {
    "torch.nn.utils.prune.remove": lambda module: prune.l1_unstructured(module, "weight", amount=0.5),
    "torch.nn.utils.remove_spectral_norm": spectral_norm,
    "torch.nn.utils.remove_weight_norm": weight_norm,
    "torch.nn.utils.parametrize.remove_parametrizations": parametrizations.orthogonal,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("remover", COMPUTED)
def test_a_weight_that_is_computed_of_others_is_refused_with_what_makes_it_plain(remover, place):
    models = pair()
    module = models[place].model.layers[0].mlp.up_proj
    COMPUTED[remover](module)
    what = "recipient" if place == 0 else "donor 'sft'"
    with pytest.raises(
        ValueError, match=rf"^{what}: model.layers.0.mlp.up_proj .*; make it plain: {remover}\("
    ) as told:
        scores(*models)
    exec(str(told.value).partition("make it plain: ")[2], {"torch": torch, "module": module})
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)


def test_a_weight_that_was_computed_once_is_refused():
    """The hook gone, what it computed from stays."""
    recipient, donor = pair()
    module = donor.model.layers[0].mlp.up_proj
    prune.l1_unstructured(module, "weight", amount=0.5)
    module._forward_pre_hooks.clear()
    with pytest.raises(ValueError, match=r"^donor 'sft': .*up_proj .* has a weight that is no parameter"):
        scores(recipient, donor)


@pytest.mark.parametrize(("asked", "there"), [(3, 2), (2, 3), (3, 0)])
def test_a_number_of_layers_that_the_model_does_not_have_is_told(asked, there):
    models = pair(num_hidden_layers=max(asked, there))
    for model in models:
        model.model.layers = model.model.layers[:there]
        model.config.num_hidden_layers = asked
    with pytest.raises(
        ValueError,
        match=f"^recipient: config.num_hidden_layers is {asked}, but model.layers has {there}; set",
    ):
        scores(*models)


def test_a_donor_with_fewer_layers_is_told_in_one_short_line():
    recipient, donor = pair()
    donor.model.layers = donor.model.layers[:1]
    with pytest.raises(
        ValueError, match=r"^donor 'sft' .* recipient \['model.layers.1.input_layernorm.weight', .*"
    ) as told:
        scores(recipient, donor)
    assert len(str(told.value)) < 300


def test_what_cannot_be_copied_is_told():
    pre, sft = (tiny_model("llama", seed) for seed in (0, 1))
    pre.model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"^recipient: copy.deepcopy cannot copy this LlamaForCausalLM"):
        GraftedModel(pre, {"sft": sft})
