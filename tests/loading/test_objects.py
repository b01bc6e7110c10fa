"""Models given as Python objects: what cannot serve is refused with what to do, in every state that objects get into; what can
gives the number of a plain forward pass."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import PROMPT, SCHEMES, TOLERANCE, loaded, plain, with_adapters
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from test_drawn_adapters import DRAWS, search
from tiny_models import tiny_lora, tiny_model
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from weightgraft import GraftedModel
from weightgraft.engine.objects import check_recipient
from weightgraft.notes import Note

QV = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}


def scores(recipient: Any, donor: Any) -> tuple[float, float]:
    pre, sft = GraftedModel(recipient, {"sft": donor}).score([PROMPT], SCHEMES).joint_logprob[0].tolist()
    return pre, sft


def drawn_parameter(model: torch.nn.Module, rng: random.Random) -> torch.nn.Parameter:
    return rng.choice([parameter for _, parameter in sorted(model.named_parameters())])


def on_meta(folder, rng: random.Random) -> Any:
    return loaded(folder).to("meta")


def partly_on_meta(folder, rng: random.Random) -> Any:
    model = loaded(folder)
    path = rng.choice([path for path, module in model.named_modules() if [*module.parameters(recurse=False)]])
    model.get_submodule(path).to("meta")
    return model


def offloaded(folder, rng: random.Random) -> Any:
    from accelerate import cpu_offload

    model = loaded(folder)
    cpu_offload(rng.choice([model, model.model.layers[1], model.lm_head]))
    return model


def compiled(folder, rng: random.Random) -> Any:
    model = loaded(folder)
    if rng.random() < 0.5:
        return torch.compile(model)
    rng.choice([model, model.model, model.model.layers[rng.randrange(3)]]).compile()
    return model


def parallel(folder, rng: random.Random) -> Any:
    return torch.nn.DataParallel(loaded(folder))


def headless(folder, rng: random.Random) -> Any:
    return rng.choice([AutoModel, AutoModelForSequenceClassification]).from_pretrained(folder)


def wrapped_by_peft(folder, rng: random.Random) -> Any:
    return PeftModel.from_pretrained(loaded(folder), folder.parent / "qv")


def changed_by_peft(folder, rng: random.Random) -> Any:
    model = loaded(folder)
    targets = rng.choice([["q_proj"], ["down_proj"], ["lm_head"], ["embed_tokens"]])
    get_peft_model(
        model, LoraConfig(r=2, target_modules=targets, modules_to_save=rng.choice([None, ["norm"]]))
    )
    return model


def with_an_adapter(folder, rng: random.Random) -> Any:
    model = loaded(folder)
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    return model


def no_number(folder, rng: random.Random) -> Any:
    model = loaded(folder)
    weight = drawn_parameter(model, rng).data.view(-1)
    weight[rng.randrange(len(weight))] = rng.choice([torch.nan, torch.inf, -torch.inf])
    return model


def fp8(folder, rng: random.Random) -> Any:
    model = loaded(folder)
    parameter = drawn_parameter(model, rng)
    parameter.requires_grad_(False)
    parameter.data = parameter.data.to(torch.float8_e4m3fn)
    return model


def called_quantized(folder, rng: random.Random) -> Any:
    model = loaded(folder)
    model.config.quantization_config = {"quant_method": "gptq"}
    return model


def half(folder, rng: random.Random) -> Any:
    return loaded(folder).to(rng.choice([torch.bfloat16, torch.float16]))


def nothing(folder, rng: random.Random) -> Any:
    return rng.choice([torch.nn.Linear(2, 2), torch.nn.Identity()])


STATES: tuple[Callable[..., Any], ...] = (
    on_meta, partly_on_meta, offloaded, compiled, parallel, headless, changed_by_peft, no_number, fp8, called_quantized, nothing,
)  # fmt: skip


@search(35)
@given(state=st.sampled_from([*STATES, wrapped_by_peft, with_an_adapter]), rng=DRAWS)
def test_a_recipient_that_cannot_serve_is_refused_with_what_to_do(folder, state, rng):
    with pytest.raises(ValueError, match=r"^recipient(:| is a)"):
        check_recipient(state(folder / "base", rng))


@search(35)
@given(state=st.sampled_from([*STATES, half]), rng=DRAWS)
def test_a_donor_that_cannot_serve_is_refused_with_what_to_do(folder, state, rng):
    """changed_by_peft: a LoRA donor then, on another base than the recipient."""
    with pytest.raises(ValueError, match=r"^donor 'sft'"):
        scores(loaded(folder / "base"), state(folder / "sft", rng))


@pytest.mark.parametrize("given_as", ["object", "folder", "its name", "a stack of one"])
@pytest.mark.parametrize("name", ["qv", "linear", "dora", "ranked", "saved"])
def test_a_peft_model_and_its_folder_give_what_peft_gives(folder, name, given_as):
    rng = random.Random(f"{name} {given_as}")
    donor, kept = with_adapters(folder / "base", folder / name), folder / name
    ways = {"object": donor, "folder": kept, "its name": str(kept), "a stack of one": [kept]}
    right = plain(donor)
    assert abs(scores(loaded(folder / "base"), ways[given_as])[1] - right) <= TOLERANCE
    at = rng.choice(
        [key for key, weight in donor.named_parameters() if "lora_" in key or "modules_to_save" in key]
    )
    donor.get_parameter(at).data.view(-1)[0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        scores(loaded(folder / "base"), donor)


def test_one_object_for_both_is_refused():
    """merge_and_unload changes its base in place and gives it back: PRE would be SFT."""
    pre = tiny_model("llama", 0)
    merged = tiny_lora(pre, 1).merge_and_unload()
    scores(pre, merged)  # tiny_lora has copied
    model = PeftModel(pre, LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ValueError, match="one object"):
        scores(pre, model.merge_and_unload())


def test_equal_weights_are_told():
    pre = tiny_model("llama", 0)
    with pytest.warns(Note, match="exactly the recipient's weights"):
        scores(pre, copy.deepcopy(pre))


def test_types_that_differ_are_told_with_the_cure():
    pre, sft = tiny_model("llama", 0), tiny_model("llama", 1).to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"bfloat16, recipient torch.float32; load both in one type"):
        scores(pre, sft)


def test_an_empty_list_of_adapters_is_refused():
    with pytest.raises(ValueError, match="an empty list of adapters"):
        scores(tiny_model("llama", 0), [])


def test_under_meta_models_without_numbers_are_taken_for_plans():
    with torch.device("meta"):
        models = [AutoModelForCausalLM.from_config(tiny_model("llama", 0).config) for _ in range(2)]
        grafted = GraftedModel(models[0], {"sft": models[1]})
    assert grafted.row_counts([PROMPT], SCHEMES) == [14]
    with pytest.raises(ValueError, match="no numbers"):
        GraftedModel(models[0], {"sft": models[1]})
