"""Adapters from a folder on a base in 16 bits: A and B are the numbers of their file, what is grafted is peft's own forward."""

from pathlib import Path

import pytest
import torch
from checkpoints import ADAPTER, PROMPT, SCHEMES, copied, edited, plain, reweighted
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from weightgraft import GraftedModel
from weightgraft.engine.lora import load_adapter

SIXTEEN = [torch.bfloat16, torch.float16]
EQUAL = 1e-5  # of log-probabilities of size 20 in float32, over logits that are the same to the bit


def in_type(folder: Path, kind: torch.dtype) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=kind, local_files_only=True).eval()


def grafted(base: PreTrainedModel, adapter: Path | PeftModel) -> tuple[float, float]:
    pre, sft = GraftedModel(base, {"sft": adapter}).score([PROMPT], SCHEMES).joint_logprob[0].tolist()
    return pre, sft


def with_peft(folder: Path, adapter: Path, kind: torch.dtype) -> PeftModel:
    return PeftModel.from_pretrained(in_type(folder, kind), adapter, torch_device="cpu")


@pytest.mark.parametrize("kind", SIXTEEN)
@pytest.mark.parametrize("name", ["qv", "linear", "ranked", "saved"])
def test_an_adapter_on_a_base_in_16_bits_gives_what_peft_gives(folder, name, kind):
    model = with_peft(folder / "base", folder / name, kind)
    for donor in (folder / name, model):
        pre, sft = grafted(in_type(folder / "base", kind), donor)
        assert abs(sft - plain(model)) <= EQUAL < abs(sft - pre) / 100


@pytest.mark.parametrize("kind", SIXTEEN)
def test_adapters_of_several_types_give_what_peft_gives(folder, tmp_path, kind):
    types = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    mixed = reweighted(
        copied(folder / "linear", tmp_path / "mixed"),
        lambda weights: {key: weights[key].to(types[i % 4]) for i, key in enumerate(sorted(weights))},
        ADAPTER,
    )
    sft = grafted(in_type(folder / "base", kind), mixed)[1]
    assert abs(sft - plain(with_peft(folder / "base", mixed, kind))) <= EQUAL


def test_numbers_below_the_range_of_float16_are_no_zeros(folder, tmp_path):
    """The scale makes up for them: rounded first, the adapter would add nothing."""
    small = reweighted(
        copied(folder / "qv", tmp_path / "small"),
        lambda weights: {key: w * 2.0**-30 if "lora_B" in key else w for key, w in weights.items()},
        ADAPTER,
    )
    edited(small, "adapter_config.json", lora_alpha=4 * 2.0**30)
    base = in_type(folder / "base", torch.float16)
    assert grafted(base, small) == grafted(base, folder / "qv")


@pytest.mark.parametrize("base", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("file", [torch.bfloat16, torch.float16, torch.float32])
def test_a_and_b_are_those_of_the_file_to_the_bit(folder, tmp_path, base, file):
    adapter = reweighted(
        copied(folder / "qv", tmp_path / "qv"),
        lambda weights: {key: weight.to(file) for key, weight in weights.items()},
        ADAPTER,
    )
    model = load_adapter("donor 'sft'", adapter, in_type(folder / "base", base))
    found = {key.replace(".default", ""): weight for key, weight in model.named_parameters()}
    for key, weight in load_file(adapter / ADAPTER).items():
        assert found[key].dtype == torch.float32 and torch.equal(found[key], weight.float())


@pytest.mark.parametrize("kind", SIXTEEN)
def test_dora_on_a_base_in_16_bits_gives_what_its_merged_weights_give(folder, kind):
    merged = with_peft(folder / "base", folder / "dora", kind).merge_and_unload()
    assert abs(grafted(in_type(folder / "base", kind), folder / "dora")[1] - plain(merged)) <= EQUAL
