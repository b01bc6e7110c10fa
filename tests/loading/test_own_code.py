"""Models with code that is not transformers': a module, a class, a function, masks of one's own, or hooks on all modules. What
gives the same logits grafted as by itself is accepted, what does not is refused."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import PROMPT, SCHEMES, TOLERANCE, plain
from tiny_models import FAMILY_NAMES, tiny_lora, tiny_model
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm

from weightgraft import GraftedModel
from weightgraft.engine import probing
from weightgraft.engine.origins import own_code

Models = list[Any]


def scores(recipient: Any, donor: Any) -> tuple[float, float]:
    pre, sft = GraftedModel(recipient, {"sft": donor}).score([PROMPT], SCHEMES).joint_logprob[0].tolist()
    return pre, sft


class Counting(LlamaMLP):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return super().forward(x)


class LookingBack(LlamaMLP):
    """Each token with what came before it."""

    def forward(self, x):
        return super().forward(x.cumsum(1) / 2)


class SameModel(LlamaForCausalLM):
    def forward(self, *given, **named):
        return super().forward(*given, **named)


class LouderModel(LlamaForCausalLM):
    def forward(self, *given, **named):
        output = super().forward(*given, **named)
        output.logits = 1.5 * output.logits
        return output


class AskingMore(LlamaForCausalLM):
    def __init__(self, config, more):
        super().__init__(config)


class TwiceNorm(LlamaRMSNorm):
    def forward(self, hidden_states):
        return 2 * super().forward(hidden_states)


class OwnConfig(LlamaConfig):
    def __init__(self, of_mine: int = 3, **named):
        super().__init__(**named)
        self.of_mine = of_mine


class Softcapped(nn.Module):
    """An attention of one's own, with the modules of Gemma 2's."""

    def __init__(self, theirs: Any):
        super().__init__()
        self.__dict__.update(vars(theirs))

    def forward(self, hidden_states, position_embeddings, attention_mask=None, **_):
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        states = [each(hidden_states) for each in (self.q_proj, self.k_proj, self.v_proj)]
        query, key, value = (each.view(shape).transpose(1, 2) for each in states)
        query, key = modeling_gemma2.apply_rotary_pos_emb(query, key, *position_embeddings)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, modeling_gemma2.eager_attention_forward
        )
        named = {"sliding_window": self.sliding_window, "softcap": self.attn_logit_softcapping}
        states, weights = attend(self, query, key, value, attention_mask, scaling=self.scaling, **named)
        return self.o_proj(states.reshape(*hidden_states.shape[:-1], -1)), weights


def sharper(module, query, *given, **named):
    return sdpa_attention_forward(module, 1.3 * query, *given, **named)


def unmasked(*given, **named):
    named |= {"mask_function": lambda batch, head, query, key: key >= 0, "allow_is_causal_skip": False}
    return sdpa_mask(*given, **named)


def far(module, query, key, value, mask, **named):
    """As sdpa, for the last 40 tokens."""
    seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril().triu(-39)
    return sdpa_attention_forward(module, query, key, value, seen[None, None], **named)


AttentionInterface.register("own_sharper", sharper)
AttentionInterface.register("own_far", far)
AttentionInterface.register("own_masks", sdpa_attention_forward)
AttentionMaskInterface.register("own_masks", unmasked)


def became(kind: type, path: str = "model.layers.1.mlp") -> Callable[[Models, Any], None]:
    def change(models: Models, _: Any) -> None:
        for model in models:
            model.get_submodule(path).__class__ = kind

    return change


def asking_for(implementation: str) -> Callable[[Models, Any], None]:
    def change(models: Models, _: Any) -> None:
        for model in models:
            model.config._attn_implementation = implementation

    return change


def patched(holder: Any, name: str, around: Callable[[Callable], Callable]) -> Callable[[Models, Any], None]:
    """As libraries do it: in the name of what they replace."""
    theirs = getattr(holder, name)

    def change(_: Models, monkeypatch: Any) -> None:
        monkeypatch.setattr(holder, name, functools.wraps(theirs)(around(theirs)))

    return change


def forward_mixing(theirs: Callable) -> Callable:
    return lambda self, hidden_states, **named: theirs(self, hidden_states.cumsum(1) / 2, **named)


def forward_passing(theirs: Callable) -> Callable:
    return lambda self, **named: theirs(self, **named)


def crossed(theirs: Callable) -> Callable:
    return lambda query, key, cos, sin, *more: theirs(query, key, sin, cos, *more)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (became(LookingBack), r"model.layers.1.mlp is a test_own_code.LookingBack"),
        (became(LouderModel, ""), r"the model is a test_own_code.LouderModel"),
        (
            asking_for("own_sharper"),
            r"attention of the implementation 'own_sharper' is test_own_code.sharper",
        ),
        (asking_for("own_masks"), r"masks of the implementation 'own_masks' is test_own_code.unmasked"),
        (patched(LlamaAttention, "forward", forward_mixing), r"LlamaAttention.forward is test_own_code\."),
    ],
)
def test_code_of_ones_own_that_grafting_would_not_run_so_is_refused(change, told, monkeypatch):
    models = [tiny_model("llama", seed) for seed in (0, 1)]
    before = plain(models[0])
    change(models, monkeypatch)
    assert abs(plain(models[0]) - before) > 100 * TOLERANCE
    with pytest.raises(ValueError, match=rf"^recipient: its code is not all transformers' \({told}"):
        scores(*models)


@pytest.mark.parametrize(
    "change",
    [
        became(Counting),
        became(SameModel, ""),
        became(AskingMore, ""),
        patched(LlamaAttention, "forward", forward_passing),
        patched(modeling_llama, "apply_rotary_pos_emb", crossed),
    ],
)
def test_code_of_ones_own_that_grafting_runs_as_it_is_is_accepted(change, monkeypatch):
    models = [tiny_model("llama", seed) for seed in (0, 1)]
    change(models, monkeypatch)
    assert own_code(models[0])
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)
    lora = tiny_lora(models[0], 3)
    assert scores(models[0], lora) == pytest.approx((plain(models[0]), plain(lora)), abs=TOLERANCE)


@pytest.mark.parametrize("places", [(0,), (1,), (0, 1)])
def test_a_models_class_of_ones_own_need_not_be_both_models(places):
    models: Models = [tiny_model("llama", seed) for seed in (0, 1)]
    became(SameModel, "")([models[place] for place in places], None)
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)
    became(LouderModel, "")([models[place] for place in places], None)
    with pytest.raises(ValueError, match=r"the model is a test_own_code.LouderModel"):
        scores(*models)


def test_code_of_ones_own_is_asked_as_many_tokens_as_it_may_be_asked_later(monkeypatch):
    """An attention that sees 40 tokens back is another one from token 41 on."""
    models: Models = [tiny_model("llama", seed) for seed in (0, 1)]
    asking_for("own_far")(models, None)
    with pytest.raises(ValueError, match=r"those of 64 tokens differ"):
        scores(*models)
    monkeypatch.setattr(probing, "LONGEST", 30)
    grafted = GraftedModel(models[0], {"sft": models[1]})
    assert grafted.longest_prompt == 30
    with pytest.raises(
        ValueError, match=r"the models take 30, as many as code that is not transformers' was"
    ):
        grafted.score([dataclasses.replace(PROMPT, tokens=(3,) * 31, positions={})], SCHEMES)


def test_an_attention_of_ones_own_with_capped_scores_is_accepted():
    models: Models = [tiny_model("gemma2", seed, attn_implementation="eager") for seed in (0, 1)]
    for model in models:
        for layer in model.model.layers:
            layer.self_attn = Softcapped(layer.self_attn)
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)


def test_a_subclass_of_ones_own_has_the_logits_of_its_family():
    """What its base reads of the config is read for it as well: caps and scales behind the unembedding."""

    class Mine(modeling_gemma2.Gemma2ForCausalLM):
        pass

    models: Models = [tiny_model("gemma2", seed, final_logit_softcapping=5.0) for seed in (0, 1)]
    for model in models:
        model.__class__ = Mine
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)


def test_a_donors_norm_of_ones_own_is_its_own():
    pre, sft = (tiny_model("llama", seed) for seed in (0, 1))
    before = plain(sft)
    became(TwiceNorm, "model.layers.1.input_layernorm")([sft], None)
    assert abs(plain(sft) - before) > 100 * TOLERANCE
    assert scores(pre, sft) == pytest.approx((plain(pre), plain(sft)), abs=TOLERANCE)


def test_a_donor_with_another_class_of_the_same_name_is_refused():
    pre, sft = (tiny_model("llama", seed) for seed in (0, 1))
    for model, factor in ((pre, 1), (sft, 2)):
        kind = type(
            "LlamaMLP", (LlamaMLP,), {"forward": lambda self, x, f=factor: f * LlamaMLP.forward(self, x)}
        )
        became(kind)([model], None)
    with pytest.raises(
        ValueError,
        match=r"^donor 'sft' differs from the recipient in model.layers.1.mlp, its class: .*LlamaMLP \(0x",
    ):
        scores(pre, sft)


def test_a_config_of_ones_own_is_accepted():
    models: Models = [tiny_model("llama", seed) for seed in (0, 1)]
    for model in models:
        model.config.__class__ = OwnConfig
    assert scores(*models) == pytest.approx([plain(model) for model in models], abs=TOLERANCE)


def doubled(module, given, output=None):
    return 2 * output if isinstance(module, nn.Linear) else None


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_a_hook_on_all_modules_is_refused(register):
    models = [tiny_model("llama", seed) for seed in (0, 1)]
    handle = register(doubled)
    try:
        with pytest.raises(
            ValueError, match=r"^recipient: all modules .* test_own_code.doubled, .*handle.remove"
        ):
            scores(*models)
    finally:
        handle.remove()


def test_under_torchs_own_counter_models_are_accepted():
    from torch.utils.flop_counter import FlopCounterMode

    models = [tiny_model("llama", seed) for seed in (0, 1)]
    right = [plain(model) for model in models]
    with FlopCounterMode(display=False) as counter:
        assert scores(*models) == pytest.approx(right, abs=TOLERANCE)
    assert counter.get_total_flops() > 0


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_models_of_transformers_alone_are_not_asked(family):
    assert own_code(tiny_model(family, 0)) is None
