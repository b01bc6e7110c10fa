"""What people give in the place of a model or an adapter is refused with what to give instead."""

import copy
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_wrappers import wrapper
from tiny_models import tiny_lora, tiny_model
from torch import nn

from weightgraft import Interpolated, Sparse
from weightgraft.engine.donors import sources_of
from weightgraft.engine.mixtures import mix
from weightgraft.engine.objects import check_recipient
from weightgraft.engine.vocabularies import check_tokenizers

BASE = tiny_model("llama", 0)


class WithValueHead(nn.Module):
    """As trl's AutoModelForCausalLMWithValueHead."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_model, self.v_head = copy.deepcopy(BASE), nn.Linear(24, 1)


THINGS: list[tuple[Any, str]] = [
    (WithValueHead(), "a WithValueHead, neither .*; give its .pretrained_model"),
    (SimpleNamespace(model=BASE), "a SimpleNamespace, neither .*; give its .model"),  # a pipeline, a trainer
    (BASE.state_dict(), r"a OrderedDict, neither .*model.load_state_dict\(weights\)"),
    (None, r"a NoneType, neither .*; give what AutoModelForCausalLM.from_pretrained\(folder"),
    (type(BASE), "the class LlamaForCausalLM, neither .*; give what AutoModelForCausalLM"),
    (BASE.config, "a LlamaConfig, neither .*; give what AutoModelForCausalLM"),
    (
        wrapper("llava", 0),
        r"a LlavaForConditionalGeneration around a text model \(llama\); give its folder to weightgraft inspect",
    ),
]


@pytest.mark.parametrize(
    ("thing", "said"), [*THINGS, ("some/model", r"is a path \('some/model'\), neither .*; give what")]
)
def test_no_recipient_is_refused_with_what_to_give(thing, said):
    with pytest.raises(ValueError, match=rf"^recipient.*{said}"):
        check_recipient(thing)


def of(donor: Any) -> None:
    sources_of({"sft": donor}, BASE, ["model.layers.0.self_attn.q_proj"])


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        *THINGS,
        ("some/model", "some/model: no such directory; models are read from local directories only"),
        (["some/adapter", BASE], "a list that holds a LlamaForCausalLM; a list is of adapters' folders"),
        ([tiny_lora(BASE, 1)], "a list that holds a PeftModelForCausalLM; .*a model is given by itself"),
        ([None], "a list that holds a NoneType"),
        (b"some/model", "a path .*give what"),
        (
            Interpolated(Interpolated(tiny_model("llama", 1), 0.5), 0.5),
            "a mixture of a mixture; mix the models themselves",
        ),
        (Sparse(Interpolated(tiny_model("llama", 1), 0.5), 3), "a mixture of a mixture"),
    ],
)
def test_no_donor_is_refused_with_what_to_give(thing, said):
    with pytest.raises(ValueError, match=rf"^donor 'sft'.*{said}"):
        of(thing)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"recipient": "gpt2"}, "that of 'recipient' is 'gpt2', no tokenizer of transformers"),
        ({"recipient": None}, "that of 'recipient' is None, no tokenizer"),
        ([1], "a list; give them by names"),
    ],
)
def test_no_tokenizer_is_refused_with_what_to_give(given, said):
    with pytest.raises(ValueError, match=f"^tokenizers: {said}"):
        inspect.unwrap(check_tokenizers)(given, ["sft"])


def test_a_whole_models_folder_in_a_donors_place_is_told_how_to_load_it(tmp_path):
    BASE.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"no adapter_config.json there; for a whole model give what AutoModelForCausalLM"
    ):
        of(tmp_path)


@pytest.mark.parametrize(
    ("made", "entry", "value", "said"),
    [
        *((Interpolated(BASE, 0.5), "strength", value, "strength is .*; give a finite number")
          for value in ("0.5", None, torch.tensor([0.1, 0.2]), float("nan"), 1j, [0.5])),
        *((Sparse(BASE, 3), "entries", value, "entries: .* is no whole number; give how many to keep")
          for value in (2.5, None, "3", True)),
    ],
)  # fmt: skip
def test_a_mixture_by_anything_but_a_number_is_refused(made, entry, value, said):
    made = copy.copy(made)
    object.__setattr__(made, entry, value)  # past the tests' own checks of types
    with pytest.raises(ValueError, match=f"donor 'sft': {said}"):
        mix({"x": [BASE.lm_head, BASE.lm_head]}, {"sft": made})
