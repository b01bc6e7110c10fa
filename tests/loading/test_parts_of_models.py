"""Folders that hold a part of a model, or send the reader elsewhere, are refused with what to do: never half a model."""

import json
import random
from pathlib import Path

import pytest
import torch
from checkpoints import ADAPTER, TOLERANCE, WEIGHTS, answer, copied, edited, plain, reweighted, with_adapters
from safetensors.torch import load_file, save_file
from test_drawn_models import INDEX, in_shards


@pytest.fixture
def shards(folder, tmp_path) -> Path:
    path = copied(folder / "sft", tmp_path / "shards")
    in_shards(path, random.Random(0))
    return path


@pytest.mark.parametrize("there", [1, 2, 4])
def test_shards_without_their_index_are_no_model(folder, shards, there):
    (shards / INDEX).unlink()
    for file in sorted(shards.glob("*.safetensors"))[there:]:
        file.unlink()
    line = answer(folder / "base", shards).line
    assert "model-00001-of-00004.safetensors is a part of a model" in line
    assert f"{INDEX}, which says what is in which part, is missing; copy it, and all parts" in line


@pytest.mark.parametrize(
    "to", ["../base/model.safetensors", "/etc/passwd", "sub/x.safetensors", "", "..", "."]
)
def test_an_index_to_files_elsewhere_is_refused_with_the_cure(folder, shards, to):
    index = json.loads((shards / INDEX).read_text())
    index["weight_map"][min(index["weight_map"])] = to
    (shards / INDEX).write_text(json.dumps(index))
    line = answer(folder / "base", shards).line
    assert f"but to {to!r}; copy all shards into this folder" in line, line


def test_weights_that_the_config_names_elsewhere_are_refused_unless_they_are_those_that_are_read(
    folder, tmp_path
):
    path = copied(folder / "sft", tmp_path / "named")
    (path / "other.safetensors").write_bytes((folder / "base" / WEIGHTS).read_bytes())
    line = answer(folder / "base", edited(path, transformers_weights="other.safetensors")).line
    assert "transformers_weights is 'other.safetensors'" in line and "remove that entry" in line
    (path / "other.safetensors").unlink()
    found = answer(folder / "base", edited(path, transformers_weights=WEIGHTS))
    assert found.sft == answer(folder / "base", folder / "sft").sft


@pytest.mark.parametrize("index", [True, False])
def test_an_adapter_in_shards_is_refused_with_a_command_that_joins_them(folder, tmp_path, index):
    path = copied(folder / "qv", tmp_path / "qv")
    weights = load_file(path / ADAPTER)
    (path / ADAPTER).unlink()
    for number, half in enumerate((sorted(weights)[::2], sorted(weights)[1::2]), start=1):
        save_file(
            {key: weights[key] for key in half}, path / f"adapter_model-0000{number}-of-00002.safetensors"
        )
    if index:
        (path / f"{ADAPTER}.index.json").write_text("{}")
    line = answer(folder / "base", path).line
    assert "its weights are in parts (adapter_model-00001-of-00002.safetensors)" in line
    code = line.partition('python -c "')[2].removesuffix('"')
    exec(code, {})
    assert answer(folder / "base", path) == answer(folder / "base", folder / "qv")


def test_magnitudes_with_weight_behind_them_are_read_as_peft_reads_them(folder, tmp_path):
    path = reweighted(
        copied(folder / "dora", tmp_path / "dora"),
        lambda weights: {f"{key}.weight" if "magnitude" in key else key: w for key, w in weights.items()},
        ADAPTER,
    )
    found = answer(folder / "base", path)
    assert found == answer(folder / "base", folder / "dora")
    assert abs(found.sft - plain(with_adapters(folder / "base", path))) <= TOLERANCE


def test_a_magnitude_under_two_spellings_is_refused(folder, tmp_path):
    path = reweighted(
        copied(folder / "dora", tmp_path / "dora"),
        lambda weights: (
            weights | {f"{key}.weight": w + 1 for key, w in weights.items() if "magnitude" in key}
        ),
        ADAPTER,
    )
    assert "are both base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector" in (
        answer(folder / "base", path).line
    )


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.int16, torch.bool])
def test_whole_numbers_in_the_place_of_a_weight_are_refused_with_the_cure(folder, tmp_path, kind):
    path = reweighted(
        copied(folder / "sft", tmp_path / "whole"),
        lambda weights: weights | {"lm_head.weight": weights["lm_head.weight"].to(kind)},
    )
    line = answer(folder / "base", path).line
    assert "has whole numbers in the place of a weight: lm_head.weight is" in line
    assert line.endswith("save the model again in float32, bfloat16 or float16")


@pytest.mark.parametrize("as_recipient", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda weights: {key: torch.zeros(0) for key in weights},
        lambda weights: weights | {"model.norm.weight": torch.zeros(0)},
        lambda weights: {"flat_param": torch.cat([weight.flatten() for weight in weights.values()])},
        lambda weights: weights | {"model.layers.0._fsdp_wrapped_module._flat_param": torch.ones(9)},
        lambda weights: {key: weight.flatten()[: weight.numel() // 2] for key, weight in weights.items()},
    ],
)
def test_parts_that_nobody_gathered_are_told_as_such(folder, tmp_path, change, as_recipient):
    path = reweighted(copied(folder / "sft", tmp_path / "parts"), change)
    line = (answer(path, folder / "base") if as_recipient else answer(folder / "base", path)).line
    assert "gather its parameters, then save it again" in line, line
