"""Two configs are of one make if the code that runs computes the same: accepted entries change no number, refused ones do.

Held against transformers itself: the donor's weights run once under the donor's config and once under the recipient's. Where
the two differ the donor must be refused; where they agree it must be accepted, and SFT is the plain forward pass.
"""

import copy
import warnings

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from tiny_models import FAMILY_NAMES, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from weightgraft import GraftedModel, Prompt, parse_scheme
from weightgraft.engine.configs import entries_read
from weightgraft.loading.configs import OF_TRANSFORMERS
from weightgraft.notes import Note, gathered

SEARCH = settings(
    max_examples=18,  # a family: 19 families, 342 configs
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # what is drawn is small already
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# Relative to the largest logit: float32 rounding, with sums in another order.
TOLERANCE = 1e-5
LENGTH = 12  # of the prompt: more than a sliding window of the tiny configs, less than their positions
TOKENS = tuple((7 * i + 3) % 61 for i in range(LENGTH))
SCHEMES = [parse_scheme(text, donor="x") for text in ("PRE", "SFT")]
# What a config may say beside what its class knows.
EXTRA = {
    "unsloth_version": "2025.3.1",
    "cache_implementation": "hybrid",
    "quantization_config": None,
    "tokenizer_class": "LlamaTokenizer",
    "rope_interleaved": False,
    "auto_map": {},
    "model_max_length": 4096,
    "alpha_pattern": [1, 2],
}
# Entries whose change is another size of the weights, or another list of layers: they cannot share the weights.
SIZES = {
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
    "head_dim", "n_embd", "n_layer", "n_head", "n_inner", "n_positions", "qk_layernorm", "use_qkv_bias", "attention_bias",
    "mlp_bias", "use_bias", "use_parallel_residual", "add_cross_attention", "is_encoder_decoder", "model_type", "dtype",
    "tie_word_embeddings", "summary_type", "id2label", "label2id", "architectures", "problem_type",
}  # fmt: skip
ACTIVATIONS = ["silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_python", "relu"]
ROTARY = [
    {"rope_type": "default", "rope_theta": 10000.0},
    {"rope_type": "default", "rope_theta": 5000.0},
    {"rope_type": "linear", "factor": 1.0, "rope_theta": 10000.0},
    {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
        "rope_theta": 10000.0,
    },
]


MODEL_CLASSES = {family: type(tiny_model(family, 0)) for family in FAMILY_NAMES}


def changed(config: dict, draw) -> dict:
    """The config with one entry changed, dropped or added."""
    kind = draw(st.sampled_from(["change", "change", "change", "extra", "drop"]))
    if kind == "extra":
        name = draw(st.sampled_from(sorted(EXTRA)))
        return config | {name: EXTRA[name]}
    names = sorted(name for name in config if name not in SIZES and not name.startswith("_"))
    read = [name for name in names if name in entries_read(MODEL_CLASSES[config["model_type"]])]
    name = draw(st.sampled_from(read) | st.sampled_from(names))
    if kind == "drop":
        return {key: value for key, value in config.items() if key != name}
    value = config[name]
    if name == "rope_parameters" and "rope_type" in value:
        rope = dict(draw(st.sampled_from(ROTARY)))
        if "partial_rotary_factor" in value:
            rope["partial_rotary_factor"] = draw(st.sampled_from([value["partial_rotary_factor"], 1.0]))
        return config | {name: rope}
    if "act" in name and isinstance(value, str):
        return config | {name: draw(st.sampled_from(ACTIVATIONS))}
    if isinstance(value, bool):
        return config | {name: not value}
    if isinstance(value, int):
        return config | {name: draw(st.sampled_from([value + 1, 2 * value + 2]))}
    if isinstance(value, float):
        return config | {name: draw(st.sampled_from([value * 1.5 + 0.1, value]))}
    if name == "layer_types":
        return config | {name: ["full_attention"] * len(value)}
    if name == "no_rope_layers":
        return config | {name: [1] * len(value)}
    if value is None and name == "sliding_window":
        return config | {name: draw(st.sampled_from([4, 40]))}
    return config


def with_config(model: PreTrainedModel, values: dict) -> PreTrainedModel | None:
    """The same weights under another config; None where transformers makes no such model."""
    values = copy.deepcopy(values)
    try:
        config = AutoConfig.for_model(values.pop("model_type"), **values)
        other = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        other.load_state_dict(model.state_dict())
    except OF_TRANSFORMERS:
        return None
    other.config.return_dict = True  # without it, transformers' own models fail
    return other.eval()


@torch.no_grad()
def plain(model: PreTrainedModel, length: int = LENGTH) -> torch.Tensor:
    return model(input_ids=torch.tensor([TOKENS[:length]]), use_cache=False).logits[0, -1]


def close(row: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((row - expected).abs().max() <= TOLERANCE * expected.abs().max())


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_config_is_accepted_if_and_only_if_the_same_is_computed(family):
    recipient, weights = tiny_model(family, 0), tiny_model(family, 1)
    ours = recipient.config.to_dict()
    outcomes = set()

    @SEARCH
    @given(data=st.data())
    def agree(data):
        theirs = changed(ours, data.draw)
        donor = with_config(weights, theirs)
        if donor is None:
            return
        try:
            with gathered():
                grafted = GraftedModel(recipient, {"x": donor})
        except ValueError as error:
            refused = str(error)
            assert "differs from the recipient in" in refused and "\n" not in refused
            assert not close(plain(donor), plain(weights)), (refused, theirs)
            outcomes.add("refused")
            return
        length = min(LENGTH, grafted.longest_prompt)
        logits = grafted.logits([Prompt(tokens=TOKENS[:length])], SCHEMES)[0]
        for row, model in zip(logits, (recipient, donor), strict=True):
            assert close(row, plain(model, length)), {
                name: value for name, value in theirs.items() if value != ours.get(name)
            }
        outcomes.add("accepted")

    agree()
    assert outcomes == {"accepted", "refused"}


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_entry_that_changes_a_number_is_seen_to_be_read(family):
    """The names in the code are those that count: norms, scales and angles are among them."""
    model = tiny_model(family, 0)
    read = entries_read(type(model))
    wanted = {"hidden_size", "num_attention_heads", "num_hidden_layers"} | {
        name for name in model.config.to_dict() if name.endswith(("eps", "epsilon", "multiplier", "scaling"))
    }
    assert wanted - {"rope_scaling"} <= read
    assert "classifier_dropout" not in read or family == "gpt2"


@pytest.mark.parametrize("entry", ["final_logit_softcapping", "logit_scale", "logits_scaling"])
@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_what_a_config_says_of_logits_and_no_code_reads_changes_none(family, entry):
    """As where a model was converted from another family, its config with it."""
    pre, sft = (tiny_model(family, seed, **{entry: 3.0}) for seed in (0, 1))
    logits = GraftedModel(pre, {"x": sft}).logits([Prompt(tokens=TOKENS)], SCHEMES)[0]
    for row, model in zip(logits, (pre, sft), strict=True):
        assert close(row, plain(model))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
         {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        ({"rope_theta": 100.0}, {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 1.0}}),
        ({"rope_scaling": None, "rope_theta": 500.0}, {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
        ({}, {"rope_parameters": {"rope_type": "linear", "factor": 1.0, "rope_theta": 10000.0}}),
    ],
)  # fmt: skip
def test_rotary_settings_that_mean_the_same_are_the_same(one, other):
    pre, sft = tiny_model("llama", 0, **copy.deepcopy(one)), tiny_model("llama", 1, **copy.deepcopy(other))
    logits = GraftedModel(pre, {"x": sft}).logits([Prompt(tokens=TOKENS)], SCHEMES)[0]
    for row, model in zip(logits, (pre, sft), strict=True):
        assert (row - plain(model)).abs().max() <= TOLERANCE * plain(model).abs().max()


def test_the_smaller_of_two_limits_of_rotary_positions_counts():
    pre, longer, shorter = (
        tiny_model("llama", seed, max_position_embeddings=limit) for seed, limit in enumerate((20, 40, 10))
    )
    with pytest.warns(
        Note, match=r"donor 'x': .*max_position_embeddings 10 \(recipient 20\); prompts may have up to 10"
    ):
        grafted = GraftedModel(pre, {"x": shorter})
    with pytest.raises(ValueError, match="has 12 tokens with its target; the models take 10"):
        grafted.logits([Prompt(tokens=TOKENS)], SCHEMES)
    with pytest.warns(Note, match=r"max_position_embeddings 40 \(recipient 20\)$"):
        grafted = GraftedModel(pre, {"x": longer})
    assert torch.allclose(
        grafted.logits([Prompt(tokens=TOKENS)], SCHEMES)[0, 1],
        plain(longer),
        atol=1e-4,  # logits of size 10 in float32
    )


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gpt2", {"n_positions": 40}),  # a table of positions
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 2.0,
                    "original_max_position_embeddings": 32,
                    "rope_theta": 10000.0,
                }
            },
        ),
    ],
)
def test_positions_that_enter_the_computation_are_compared(family, changes):
    with pytest.raises(ValueError, match="differs from the recipient in"):
        GraftedModel(tiny_model(family, 0), {"x": tiny_model(family, 1, **changes)})


def test_prompts_that_fit_into_the_smaller_window_may_be_asked_of_both():
    pre, sft = tiny_model("mistral", 0, sliding_window=None), tiny_model("mistral", 1, sliding_window=6)
    grafted = GraftedModel(pre, {"x": sft})
    prompt = Prompt(tokens=TOKENS[:6])
    with torch.no_grad():
        expected = sft(torch.tensor([prompt.tokens])).logits[0, -1]
    # float32 rounding of logits of size 10
    assert torch.allclose(grafted.logits([prompt], SCHEMES)[0, 1], expected, atol=1e-4)
    with pytest.raises(ValueError, match="has 7 tokens with its target; the models take 6"):
        grafted.logits([Prompt(tokens=TOKENS[:7])], SCHEMES)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_in_which_nothing_is_seen_is_refused(window):
    """What transformers computes then depends on the implementation of attention."""
    model = tiny_model("mistral", 0, sliding_window=window)
    with pytest.raises(ValueError, match=rf"recipient: config\.sliding_window is {window}: no token would"):
        GraftedModel(model, {"x": tiny_model("mistral", 1, sliding_window=window)})
    # A config may say so where no layer looks through a window.
    unused = [
        tiny_model("gemma2", seed, sliding_window=0, layer_types=["full_attention"] * 3) for seed in (0, 1)
    ]
    grafted = GraftedModel(unused[0], {"x": unused[1]})
    assert torch.allclose(grafted.logits([Prompt(tokens=TOKENS)], SCHEMES)[0, 1], plain(unused[1]), atol=1e-4)


def test_differences_that_change_no_number_are_one_note_and_origins_are_none():
    pre = tiny_model("llama", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        GraftedModel(
            pre, {"x": tiny_model("llama", 1, use_cache=False, pad_token_id=3, transformers_version="4.1")}
        )
    with gathered() as notes:
        GraftedModel(pre, {"x": tiny_model("llama", 1, attention_dropout=0.1, unsloth_version="2025.3.1")})
    assert notes == [
        "donor 'x': its config differs from the recipient's in what changes no number: attention_dropout 0.1 (recipient 0.0), "
        "unsloth_version '2025.3.1' (recipient None)"
    ]
