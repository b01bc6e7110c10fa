"""Models that differ in more than their weights are refused, and the first difference is named."""

import pytest
import torch
from tiny_models import tiny_lora, tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from weightgraft import GraftedModel, parse_scheme


@pytest.mark.parametrize(
    ("family", "changes", "difference"),
    [
        ("gpt2", {}, "architecture: GPT2LMHeadModel, recipient LlamaForCausalLM"),
        ("llama", {"num_hidden_layers": 4}, r"config\.num_hidden_layers: 4, recipient 3"),
        ("llama", {"rms_norm_eps": 1e-3}, r"config\.rms_norm_eps: 0\.001, recipient 1e-06"),
        ("llama", {"num_key_value_heads": 4}, r"config\.num_key_value_heads: 4, recipient 2"),
    ],
)
def test_a_donor_of_another_make_is_refused(pre, family, changes, difference):
    with pytest.raises(ValueError, match=f"donor 'x' differs from the recipient in {difference}"):
        GraftedModel(pre, {"x": tiny_model(family, 1, **changes)})


def test_a_donor_of_another_type_is_refused(pre):
    with pytest.raises(ValueError, match=r"the type of .*: torch\.bfloat16, recipient torch\.float32"):
        GraftedModel(pre, {"x": tiny_model("llama", 1).to(torch.bfloat16)})


def test_config_entries_that_change_no_forward_pass_may_differ(pre):
    donor = tiny_model("llama", 1, attention_dropout=0.1, use_cache=False, pad_token_id=3)
    assert GraftedModel(pre, {"x": donor}).owners == {"recipient": 0, "x": 1}


def test_tied_and_untied_models_may_be_mixed_and_embed_and_unembed_are_two_components(prompts):
    tied, untied = tiny_model("gemma", 0), tiny_model("gemma", 1, tie_word_embeddings=False)
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight
    texts = ("PRE", "embed@all", "unembed@all", "embed+unembed@all")
    for recipient, donor in ((tied, untied), (untied, tied)):
        logits = GraftedModel(recipient, {"x": donor}).logits(
            prompts, [parse_scheme(text, "x") for text in texts]
        )
        for first in range(4):
            for second in range(first):
                assert (logits[:, first] - logits[:, second]).abs().max() > 0.1


def test_something_that_is_no_model_is_refused(pre):
    with pytest.raises(ValueError, match="donor 'x' is a Linear, neither"):
        GraftedModel(pre, {"x": torch.nn.Linear(2, 2)})


def test_an_unknown_family_is_refused_and_the_known_are_listed():
    model = tiny_model("llama", 0)
    model.config.model_type = "mamba"
    with pytest.raises(
        ValueError, match=r"'mamba'; known: gpt2, gpt_neox, .*cohere2\. To add one, add a row"
    ):
        GraftedModel(model, {})


def test_bidirectional_models_are_refused():
    model = tiny_model("gemma3_text", 0)
    model.config.use_bidirectional_attention = True
    with pytest.raises(ValueError, match="causal attention"):
        GraftedModel(model, {})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"qk_layernorm": True},
            "recipient: model.layers.0.self_attn.q_layernorm.norms.0.weight belongs to no component",
        ),
        (
            {"use_parallel_residual": True},
            "has no module model.layers.0.post_attention_layernorm, where its family",
        ),
    ],
)
def test_a_variant_of_a_family_with_weights_elsewhere_is_refused(changes, expected):
    with pytest.raises(ValueError, match=expected):
        GraftedModel(tiny_model("stablelm", 0, **changes), {})


@pytest.mark.parametrize("name", ["my-donor", "last", "recipient", "", "2b"])
def test_a_donor_needs_a_name_that_the_notation_can_write(pre, sft, name):
    with pytest.raises(ValueError, match=f"donor '{name}': a name is letters, digits and _"):
        GraftedModel(pre, {name: sft})


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"rms_norm_eps": 1e-3}, r"config\.rms_norm_eps: 0\.001, recipient 1e-06"),
        ({"num_hidden_layers": 2}, r"config\.num_hidden_layers: 2, recipient 3"),
    ],
)
def test_a_lora_donor_on_a_base_of_another_make_is_refused(pre, changes, difference):
    donor = tiny_lora(tiny_model("llama", 0, **changes), seed=3)
    with pytest.raises(ValueError, match=f"donor 'x' differs from the recipient in {difference}"):
        GraftedModel(pre, {"x": donor})


def tokenizer(words: list[str], **options: object) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?", **options)


def test_tokenizers_that_differ_are_refused(pre, sft):
    ours = tokenizer(["?", "a", "b"])
    GraftedModel(pre, {"x": sft}, tokenizers={"recipient": ours, "x": tokenizer(["?", "a", "b"])})
    with pytest.raises(
        ValueError, match="tokenizer of 'x' differs from the recipient's in token 'a': id 2, recipient 1"
    ):
        GraftedModel(pre, {"x": sft}, tokenizers={"recipient": ours, "x": tokenizer(["?", "b", "a"])})
    with pytest.raises(ValueError, match="the one of 'recipient' is missing; given: x"):
        GraftedModel(pre, {"x": sft}, tokenizers={"x": ours})
    with pytest.raises(ValueError, match="tokenizers: 'y' is no donor; donors: x"):
        GraftedModel(pre, {"x": sft}, tokenizers={"recipient": ours, "y": ours})
    other = tokenizer(["?", "a", "b"])
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(ValueError, match="tokenizer of 'x' differs from the recipient's in"):
        GraftedModel(pre, {"x": sft}, tokenizers={"recipient": ours, "x": other})


def test_tokenizers_that_differ_in_a_merge_alone_are_refused(pre, sft):
    """The same vocabulary, and all usual texts are cut the same way: only the merges say which are not."""
    vocabulary = {token: number for number, token in enumerate(["?", "x", "y", "z", "xy", "yz", "xyz"])}

    def cut_by(merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
        backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="?"))
        return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="?")

    ours, theirs = cut_by([("x", "y"), ("xy", "z")]), cut_by([("y", "z"), ("x", "yz")])
    with pytest.raises(ValueError, match=r"in how it cuts 'yz': token 0 is 'yz' \(5\), recipient 'y' \(2\)"):
        GraftedModel(pre, {"x": sft}, tokenizers={"recipient": ours, "x": theirs})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task:FE", "unknown donor 'task'; known: recipient, sft"),
        ("sft:O@LT[2-3]", "layer 3 does not exist; the model has layers 0 to 2"),
        ("sft:O{4}@LT", "head 4 does not exist; this llama has heads 0 to 3"),
        ("sft:M", "prompt 0 has no position set 'M'; it has FE, LT"),
    ],
)
def test_schemes_that_do_not_fit_are_refused(grafted, prompts, text, expected):
    with pytest.raises(ValueError, match=expected):
        grafted.score(prompts, [parse_scheme(text)])


def test_a_component_the_family_lacks_is_refused(prompts):
    grafted = GraftedModel(tiny_model("gpt2", 0), {"sft": tiny_model("gpt2", 1)})
    with pytest.raises(
        ValueError, match="scheme 'gate@LT': gpt2 has no component 'gate'; it has embed, attn_norm, q"
    ):
        grafted.score(prompts, [parse_scheme("gate@LT", donor="sft")])
    with pytest.raises(ValueError, match="gpt2 has no component 'gate'"):
        grafted.score(prompts, [parse_scheme("FFN-GATE@LT", donor="sft")])
    # The group means what there is of it: up and down.
    grafted.score(prompts, [parse_scheme("FFN@LT", donor="sft")])
