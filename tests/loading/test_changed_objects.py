"""Models that were changed by hand after they were built: what changes a number there is refused with the cure, what does not is no
reason to refuse."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import PROMPT, SCHEMES, TOLERANCE, plain
from tiny_models import tiny_lora, tiny_model
from torch import nn

from weightgraft import GraftedModel


def scores(recipient: Any, donor: Any) -> tuple[float, float]:
    pre, sft = GraftedModel(recipient, {"sft": donor}).score([PROMPT], SCHEMES).joint_logprob[0].tolist()
    return pre, sft


class Twice(nn.Linear):
    def forward(self, states):
        return 2 * super().forward(states)


def steered(model: Any) -> None:
    model.model.layers[1].mlp.register_forward_hook(lambda _, given, output: output + 0.5)


def fed_otherwise(model: Any) -> None:
    model.model.layers[0].self_attn.q_proj.register_forward_pre_hook(lambda _, given: (given[0] + 0.5,))


def patched(model: Any) -> None:
    mlp = model.model.layers[0].mlp
    forward = mlp.forward
    mlp.forward = lambda states: 2 * forward(states)


def another_activation(model: Any) -> None:
    model.model.layers[0].mlp.act_fn = nn.ReLU()


def another_scale(model: Any) -> None:
    model.model.layers[2].self_attn.scaling *= 2


def other_angles(model: Any) -> None:
    model.model.rotary_emb.inv_freq *= 0.5


def rounded_angles(model: Any) -> None:
    """As of .to(bfloat16) where from_pretrained(dtype=bfloat16) keeps them."""
    model.model.rotary_emb.to(torch.bfloat16).float()


def another_linear(model: Any) -> None:
    model.model.layers[0].self_attn.q_proj.__class__ = Twice


def another_head(model: Any) -> None:
    model.lm_head.__class__ = Twice


def one_layer_twice(model: Any) -> None:
    model.model.layers[2] = model.model.layers[1]


CHANGES: dict[Callable[[Any], None], str] = {
    steered: "model.layers.1.mlp .* has a forward hook, .*steered.*remove it",
    fed_otherwise: "model.layers.0.self_attn.q_proj .* has a forward hook",
    patched: "model.layers.0.mlp .* has another forward than its class",
    another_activation: "model.layers.0.mlp.act_fn, its class: ReLU, recipient SiLU",
    another_scale: "model.layers.2.self_attn, its scaling",
    other_angles: "model.rotary_emb.inv_freq, numbers that transformers computes .*load both in one way",
    rounded_angles: "model.rotary_emb.inv_freq",
    another_linear: "model.layers.0.self_attn.q_proj, its class: Twice, recipient Linear",
    another_head: "lm_head, its class: Twice",
    one_layer_twice: "model.layers.2.self_attn, its layer_idx: 1, recipient 2",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_donor_that_was_changed_where_it_has_no_weights_is_refused(change):
    pre, sft = tiny_model("llama", 0), tiny_model("llama", 1)
    before = plain(sft)
    change(sft)
    assert abs(plain(sft) - before) > TOLERANCE / 10  # the change counts; rounded angles are the least
    with pytest.raises(ValueError, match=rf"^donor 'sft'.*{CHANGES[change]}"):
        scores(pre, sft)


@pytest.mark.parametrize("change", [steered, patched, another_activation, other_angles])
def test_an_adapter_on_a_base_that_was_changed_so_is_refused(change):
    pre = tiny_model("llama", 0)
    donor = tiny_lora(pre, 1)
    change(donor.get_base_model())
    with pytest.raises(ValueError, match=r"^donor 'sft'"):
        scores(pre, donor)


@pytest.mark.parametrize("change", [steered, fed_otherwise, patched, another_linear, one_layer_twice])
def test_a_recipient_with_more_than_its_classes_say_is_refused(change):
    models = [tiny_model("llama", seed) for seed in (0, 1)]
    for model in models:
        change(model)
    with pytest.raises(ValueError, match=r"^recipient: "):
        scores(*models)


def test_a_recipients_layers_in_another_order_are_refused():
    models = [tiny_model("llama", seed) for seed in (0, 1)]
    for model in models:
        layers = model.model.layers
        layers[0], layers[2] = layers[2], layers[0]
    with pytest.raises(ValueError, match="recipient: the layer in place 0 was built as layer 2"):
        scores(*models)


def test_a_head_of_several_modules_is_refused():
    models = [tiny_model("llama", seed) for seed in (0, 1)]
    for model in models:
        model.lm_head = nn.Sequential(model.lm_head, nn.Tanh())
    with pytest.raises(ValueError, match="recipient: a Sequential in the place of an embedding"):
        scores(*models)


def test_a_model_of_mixed_types_is_refused():
    """As peft's prepare_model_for_kbit_training leaves it."""
    models = [tiny_model("llama", seed).to(torch.bfloat16) for seed in (0, 1)]
    for model in models:
        model.model.norm.float()
    with pytest.raises(
        ValueError, match=r"recipient: model.norm.weight is torch.float32, other weights torch.bfloat16"
    ):
        scores(*models)


def ready_to_train(model: Any) -> Any:
    model.enable_input_require_grads()  # a hook of transformers' own
    model.gradient_checkpointing_enable()
    return model.train()


def captured(model: Any) -> Any:
    """transformers' own hooks stay where states were asked for."""
    model(torch.tensor([PROMPT.tokens]), output_hidden_states=True)
    return model


def altered_alike(model: Any) -> Any:
    another_activation(model)
    return model


@pytest.mark.parametrize("state", [ready_to_train, captured, altered_alike, copy.deepcopy])
def test_what_changes_no_number_is_accepted(state):
    pre, sft = state(tiny_model("llama", 0)), state(tiny_model("llama", 1))
    assert scores(pre, sft) == pytest.approx((plain(pre), plain(sft)), abs=TOLERANCE)
