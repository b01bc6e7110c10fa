"""Claims about models with a source: what cannot be had is said in one line, before any work; what can is loaded as it is."""

import json
import os
import shutil
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from huggingface_hub import HfApi
from made_up_sources import DATA, HERE, PARAMS, model_of
from safetensors.torch import load_file, save_file

from stages.check_params import check, whole_models
from stages.modeling.models import load_model, set_up
from stages.modeling.sources import obtain, obtain_early
from stages.study.checking import sources
from stages.study.checking.sources import check_source
from stages.study.schema import Family, Launch, Model, Params
from weightgraft.engine.families import FAMILIES
from weightgraft.errors import UserError


def test_a_whole_local_folder_is_accepted_and_loaded(whole, tmp_path):
    check_source("mine", model_of(whole), 1, HERE, tmp_path)
    set_up(0, threads=1)
    source = {"model": str(whole), "revision": None, "early": "untrained"}
    config = json.loads((whole / "config.json").read_text())
    stated = {"num_hidden_layers": config["num_hidden_layers"]}
    model, tokenizer = obtain(source, "llama", stated, "bfloat16")
    assert model.dtype == torch.bfloat16 and tokenizer.pad_token is not None
    early = obtain_early(source, model)
    assert early.dtype == torch.bfloat16
    assert not torch.equal(early.get_input_embeddings().weight, model.get_input_embeddings().weight)
    again = obtain_early(source | {"early": str(whole)}, model)
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)
    with pytest.raises(UserError, match=r"num_hidden_layers = .*params.yaml's architecture 7"):
        obtain(source, "llama", {"num_hidden_layers": 7}, "float32")
    with pytest.raises(UserError, match=r"is a llama model; its entry's family is 'qwen2'"):
        obtain(source, "qwen2", {}, "float32")


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def rename(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def other_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gemma"}))


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, ["model.safetensors is cut short"]),
        (rename, ["model.safetensors is missing", "weights.safetensors"]),
        (pickled, ["pytorch_model.bin only", "convert"]),
        (no_tokenizer, ["has no tokenizer"]),
        (other_family, ["is a gemma model", "family is 'llama'"]),
        (no_json, ["config.json is no JSON"]),
    ],
)
def test_a_damaged_folder_is_named_before_any_work(folder, tmp_path, damage, words):
    damage(folder)
    with pytest.raises(UserError) as raised:
        check_source("mine", model_of(folder), 1, HERE, tmp_path)
    message = str(raised.value)
    assert all(word in message for word in ["models.mine.source", *words]) and "\n" not in message, message


@pytest.mark.parametrize("what", ["missing_keys", "not finite", "unexpected_keys", "shape"])
def test_weights_that_do_not_fit_or_are_not_finite_are_refused_when_they_are_loaded(folder, what):
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.1.mlp.up_proj.weight"
    if what == "missing_keys":
        weights.pop(name)
    elif what == "unexpected_keys":
        weights["model.layers.1.mlp.side_proj.weight"] = weights[name].clone()
    elif what == "shape":
        weights[name] = weights[name][:-1].contiguous()
    else:
        weights[name][0, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError) as raised:
        load_model(folder)
    message = str(raised.value)
    named = "side_proj" if what == "unexpected_keys" else name
    assert named in message and str(folder) in message and "\n" not in message, message


def test_disk_and_memory_must_suffice_for_what_is_trained(monkeypatch, whole, tmp_path):
    model, numbers = model_of(whole), 23_000_000_000  # as if it were a model of 23 B
    usage = SimpleNamespace(total=0, used=0, free=10**12)
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(sources, "numbers_in", lambda files: numbers)
    monkeypatch.setattr(sources, "gpu_memory", lambda: [])
    monkeypatch.setattr(sources.psutil, "virtual_memory", lambda: SimpleNamespace(total=400 * 10**9))
    check_source("mine", model, 5, HERE, tmp_path)  # 7 models of 46 GB, checkpoints of 552: 874
    with pytest.raises(
        UserError,
        match=r"needs 1012\.0 GB of disk for it \(10 models, two checkpoints .*; 1000\.0 GB are free",
    ):
        check_source("mine", model, 8, HERE, tmp_path)
    done = tmp_path / "runs/finetune/mine-0-fmra"  # an earlier run made it: it needs no more room
    done.mkdir(parents=True)
    (done / "model.safetensors").touch()
    os.truncate(done / "model.safetensors", 46 * 10**9)
    check_source("mine", model, 8, HERE, tmp_path)
    monkeypatch.setattr(sources, "gpu_memory", lambda: [24 * 10**9, 80 * 10**9])
    with pytest.raises(UserError, match=r"more than 368\.0 GB, its GPU has 80\.0; valid: FSDP"):
        check_source("mine", model, 5, HERE, tmp_path)
    sharded = Launch(train="accelerate launch --config_file data/accelerate/fsdp.yaml", graft="python")
    check_source("mine", model, 5, sharded, tmp_path)
    check_source("mine", model, 0, HERE, tmp_path)  # adapters alone


def test_what_an_earlier_run_obtained_is_not_asked_for_again(monkeypatch, whole, tmp_path):
    def no_hub(*args: object, **options: object) -> None:
        raise AssertionError("the hub is asked")

    monkeypatch.setattr(HfApi, "model_info", no_hub)
    shutil.copytree(whole, tmp_path / "runs/pretrain/llama-3_2-1b")
    model = Model.model_validate(PARAMS["models"]["llama-3_2-1b"])
    check_source("llama-3_2-1b", model, 1, HERE, tmp_path)
    with pytest.raises(AssertionError, match="the hub is asked"):
        check_source("another", model, 1, HERE, tmp_path)


def test_adapters_are_no_whole_models_and_every_seed_is_one():
    values = deepcopy(PARAMS)
    lists = {
        "recipes": ["fmra", "lora"],
        "parts": ["half_a"],
        "own": [],
        "seeds": [0, 1],
        "models": ["tiny-gpt2"],
    }
    repeats = {"models": ["tiny-gpt2"], "seeds": [2, 3, 4], "recipes": ["fmra"]}
    values["study"] |= lists | {"repeats": repeats}
    assert whole_models(Params.model_validate(values), "tiny-gpt2") == (2 + 3) + 2


def test_models_of_every_family_of_the_engine_may_have_a_source_and_five_are_trained_here():
    assert {*get_args(Family)} == {*FAMILIES}
    values = deepcopy(PARAMS)
    values["models"]["tiny-gpt2"]["family"] = "qwen2"
    with pytest.raises(
        UserError, match=r"models\.tiny-gpt2\.family is 'qwen2': .*; valid: gpt2, gpt_neox, llama"
    ):
        check(values, DATA)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": {"model": "./nowhere"}}, ["no such folder"]),
        ({"source": {"model": "owner/name"}}, ["revision is missing", "40 digits"]),
        (
            {"source": {"model": "owner/name", "revision": "0" * 40, "early": "main"}},
            ["gpt2-xl.source.early is 'main'", "untrained", "40 digits"],
        ),
        ({"source": {"model": "owner/name", "revision": "main"}}, ["source.revision", "'main'"]),
        ({"pretrain": PARAMS["models"]["tiny-gpt2"]["pretrain"]}, ["has a source and pretrain"]),
        ({"source": None}, ["missing key 'models.gpt2-xl.tokenizer'"]),
        ({"architecture": {"n_embd": 1600}}, ["models.gpt2-xl.source", "the hub cannot be reached"]),
        ({"architecture": {"n_embd": 1600, "n_layer": 48, "n_head": 0}}, ["architecture.n_head is 0"]),
        ({"architecture": {"n_embd": 1601, "n_layer": 48, "n_head": 25}}, ["not a multiple of n_head"]),
        ({"recipes": {"gentel": {}}}, ["models.gpt2-xl.recipes", "did you mean 'gentle'"]),
        ({"dtype": "float8"}, ["models.gpt2-xl.dtype", "bfloat16"]),
        ({"device": "tpu"}, ["models.gpt2-xl.device", "cuda"]),
    ],
)
def test_a_wrong_entry_is_named(change, words):
    values = deepcopy(PARAMS)
    values["models"]["gpt2-xl"].update(change)
    values["study"]["models"], values["study"]["repeats"]["models"] = ["gpt2-xl"], []
    with pytest.raises(UserError) as raised:
        check(values, DATA)
    assert all(word in str(raised.value) for word in words) and "\n" not in str(raised.value)
