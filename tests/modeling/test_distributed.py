"""Claims about training on several devices: the same losses and weights as on one; killed at any moment it ends the same.

Two CPU processes stand for two GPUs, started by the committed configurations of `accelerate launch`.
"""

import json
import multiprocessing
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from launching import (
    LOSS,
    assert_close,
    finished,
    kill_after_a_checkpoint,
    launched,
    outcome,
    same,
    weights,
)
from peft import PeftModel
from training_jobs import ARCHITECTURE, NO_DROPOUT, SETTINGS, TEXTS, run_job, run_stage

from stages.frame.rows import write_jsonl
from stages.modeling.models import build_model, load_model, save_model, set_up
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import joined, loss_of_last_epoch, texts_a_device
from weightgraft.errors import UserError


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """Trained by this process alone."""
    folder = tmp_path_factory.mktemp("one")
    for name, job in {
        "plain": {},
        "steps": {"settings": {"gradient_accumulation_steps": 2}},
        "checkpointing": {"settings": {"gradient_checkpointing": True}},
        "untrained": {"settings": {"learning_rate": 1e-12}},
        "lora": {"lora": True},
        "lora_checkpointing": {"lora": True, "settings": {"gradient_checkpointing": True}},
        "bf16": {"settings": {"bf16": True}, "dtype": "bfloat16"},
    }.items():
        run_job({"name": name, **job}, folder)
    return folder


LONGER = {"settings": {"num_train_epochs": 4}, "longest_part": 3}  # checkpoints also within an epoch
MODEL = {"threads": 1, "device": "cpu", "dtype": "bfloat16", "base_forms": "all", "finetune": SETTINGS}
MODEL |= {"family": "gpt2", "architecture": ARCHITECTURE | NO_DROPOUT, "pretrain": SETTINGS, "source": None}
MODEL |= {"tokenizer": {"vocab_size": 300, "bos": False}}
RECIPE = {
    "dataset": "fmra",
    "directions": ["ab"],
    "halves": ["a"],
    "learning_rate_factor": 1,
    "epochs_factor": 1,
    "weight_decay": None,
    "base_text_share": 0,
    "lora": None,
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> Path:
    """What the stages pretrain and finetune read."""
    folder = tmp_path_factory.mktemp("stage")
    set_up(0, threads=1)
    tokenizer = train_tokenizer(TEXTS, 300, bos=False)
    save_model(build_model("gpt2", ARCHITECTURE | NO_DROPOUT, tokenizer), tokenizer, folder / "base")
    rows = [{"direction": "ab", "half": "a", "text": text} for text in TEXTS]
    write_jsonl(folder / "facts/texts/fmra.jsonl", rows)
    write_jsonl(folder / "facts/texts/base_all.jsonl", rows)
    write_jsonl(folder / "facts/recall/all.jsonl", [{"text": "A stars with", "target": " S"}])
    settings = {"model": MODEL, "recipe": RECIPE, "pretrain": {"seed": 0, "early_epoch": 3}}
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def stage_jobs(stage: Path) -> list[dict]:
    """What they write is relative to where they run, as in dvc.yaml."""
    read = ["--settings", str(stage / "settings.json"), "--facts", str(stage / "facts")]
    finetune = [*read, "--seed", "0", "--base", str(stage / "base"), "--out", "sft", "--metrics", "sft.json"]
    pretrain = [*read, "--out", "pre", "--early", "early", "--metrics", "pre.json"]
    return [{"stage": "finetune", "arguments": finetune}, {"stage": "pretrain", "arguments": pretrain}]


@pytest.fixture(scope="module")
def two(tmp_path_factory, stage) -> tuple[Path, str]:
    """(folder, what was printed): trained by two processes with ddp.yaml; one job was killed before, after a checkpoint."""
    folder = tmp_path_factory.mktemp("two")
    waits = {"name": "killed", **LONGER, "at_a_checkpoint": {"what": "wait"}}
    kill_after_a_checkpoint(launched("ddp", [waits], folder), folder / "killed")
    jobs = [
        {"name": "plain"},
        {"name": "steps", "settings": {"gradient_accumulation_steps": 2}},
        {"name": "checkpointing", "settings": {"gradient_checkpointing": True}},
        {"name": "lora", "lora": True},
        {"name": "bf16", "settings": {"bf16": True}},
        {"name": "killed", **LONGER},
        {"name": "whole", **LONGER},
        *stage_jobs(stage),
    ]
    return folder, finished(launched("ddp", jobs, folder))


def test_it_trains_at_all_or_the_rest_says_nothing(one):
    assert outcome(one, "plain")["loss"] < 0.5 * outcome(one, "untrained")["loss"]


@pytest.mark.parametrize("name", ["steps", "checkpointing"])
def test_accumulation_and_checkpointing_change_no_loss(one, name):
    assert outcome(one, name)["losses"] == pytest.approx(outcome(one, "plain")["losses"], **LOSS)
    assert_close(one / name, one / "plain")


def test_a_lora_recipe_trains_with_checkpointing_as_without(one):
    with_it, without = outcome(one, "lora_checkpointing"), outcome(one, "lora")
    assert with_it["losses"] == pytest.approx(without["losses"], **LOSS)
    assert_close(one / "lora_checkpointing", one / "lora")


@pytest.mark.parametrize("name", ["plain", "steps", "checkpointing", "lora"])
def test_two_processes_give_the_losses_and_weights_of_one(one, two, name):
    folder, _ = two
    single, double = outcome(one, name), outcome(folder, name)
    assert (single["processes"], double["processes"]) == (1, 2)
    assert double["losses"] == pytest.approx(single["losses"], **LOSS)
    assert_close(folder / name, one / name)
    if name != "lora":
        assert_close(folder / f"{name}.ckpt/snapshot", one / f"{name}.ckpt/snapshot")


def test_bf16_trains_nearly_the_same_and_is_another_arithmetic(one, two):
    """bfloat16 has 8 bits: a loss is off by up to about 2**-8 of itself."""
    plain = outcome(one, "plain")["losses"]
    for folder in (one, two[0]):
        losses = outcome(folder, "bf16")["losses"]
        assert losses != pytest.approx(plain, **LOSS) and losses == pytest.approx(plain, rel=2**-8)


def test_the_saved_weights_have_the_dtype_asked_for_and_training_has_not(one):
    assert {weight.dtype for weight in weights(one / "bf16").values()} == {torch.bfloat16}
    assert json.loads((one / "bf16/config.json").read_text())["dtype"] == "bfloat16"
    assert {weight.dtype for weight in weights(one / "bf16.ckpt/snapshot").values()} == {torch.float32}
    assert {weight.dtype for weight in weights(one / "plain").values()} == {torch.float32}
    assert weights(one / "bf16").keys() == weights(one / "plain").keys()  # tied weights are saved once


def test_a_run_of_two_processes_that_was_killed_ends_in_the_same_bits(two):
    folder, _ = two
    killed, whole = outcome(folder, "killed"), outcome(folder, "whole")
    assert killed["resumed_at"] > 0 == whole["resumed_at"]
    assert killed["losses"] == whole["losses"] and killed["loss"] == whole["loss"]
    assert same(folder / "killed", folder / "whole")


def test_the_stages_under_two_processes_write_and_print_once_what_they_do_under_one(
    two, stage, tmp_path, monkeypatch, capfd
):
    folder, printed = two
    monkeypatch.chdir(tmp_path)
    for job in stage_jobs(stage):
        run_stage(job["stage"], job["arguments"])
    told = [
        line for line in capfd.readouterr().out.splitlines() if line.startswith(("finetune:", "pretrain:"))
    ]
    assert len(told) == 2
    assert [printed.count(line) for line in told] == [1, 1] and printed.count("memory:") == 2
    for name in ("sft", "pre"):
        losses = [json.loads((where / f"{name}.json").read_text())["loss"] for where in (tmp_path, folder)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)  # rounded to four digits
    for where in (tmp_path, folder):
        for name in ("sft", "pre", "early"):
            assert {weight.dtype for weight in weights(where / name).values()} == {torch.bfloat16}
        assert same(
            where / "pre", where / "early"
        )  # early is here the last epoch: it is there before any other process reads it
        assert not list((where / ".ckpt").iterdir())


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Path:
    """Trained by two processes with fsdp.yaml, which each hold half of every weight; one was stopped before, at a checkpoint."""
    folder = tmp_path_factory.mktemp("fsdp")
    jobs = [
        {"name": "plain", "fsdp": True, "at_a_checkpoint": {"what": "stop"}},
        {"name": "plain", "fsdp": True},
        {"name": "lora", "fsdp": True, "lora": True},
        {"name": "bf16", "fsdp": True, "settings": {"bf16": True, "gradient_checkpointing": True}},
    ]
    finished(launched("fsdp", jobs, folder))
    return folder


@pytest.mark.parametrize("name", ["plain", "lora"])
def test_weights_shared_out_by_fsdp_train_and_resume_to_those_of_one_process(one, sharded, name):
    single, shards = outcome(one, name), outcome(sharded, name)
    assert shards["sharded"] and not single["sharded"]
    assert (shards["resumed_at"] > 0) == (name == "plain")
    assert shards["loss"] == pytest.approx(single["loss"], **LOSS)
    assert_close(sharded / name, one / name)
    assert {path.name for path in (sharded / name).iterdir()} == {
        path.name for path in (one / name).iterdir()
    }


def test_what_fsdp_saves_loads_as_a_plain_model_or_adapter(sharded, one):
    loaded, _ = load_model(sharded / "plain")
    plain, _ = load_model(one / "plain")
    assert type(loaded) is type(plain)
    assert (sharded / "plain/config.json").read_text() == (one / "plain/config.json").read_text()
    assert_close(sharded / "plain.ckpt/snapshot", one / "plain.ckpt/snapshot")
    adapter = PeftModel.from_pretrained(loaded, str(sharded / "lora"))
    assert any("lora_B" in name and weight.any() for name, weight in adapter.state_dict().items())


def test_fsdp_computes_in_bf16_and_keeps_float32(one, sharded):
    losses, plain = outcome(sharded, "bf16")["losses"], outcome(one, "plain")["losses"]
    assert losses != pytest.approx(plain, **LOSS) and losses == pytest.approx(plain, rel=2**-8)
    assert {weight.dtype for weight in weights(sharded / "bf16").values()} == {torch.float32}


def test_a_run_killed_at_any_moment_ends_in_the_same_bits(tmp_path):
    """Killed at random moments, with dropout: also the generators' states are resumed, within an epoch and between two."""
    job = {"architecture": {}, "settings": {"num_train_epochs": 12}, "longest_part": 3}
    context = multiprocessing.get_context("forkserver")  # children of a process that has imported everything
    context.set_forkserver_preload(["training_jobs"])

    def start(name: str, end: Mapping[str, Any]) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=run_job, args=({"name": name, **job, **end}, tmp_path))
        process.start()
        return process

    start("whole", {}).join()
    draws, resumable = random.Random(0), 0
    for count in (0, 3, 1, 4):  # checkpoints, and then a while
        dies = {"what": "die", "count": count, "seconds": draws.uniform(0.001, 0.2)}
        process = start("killed", {"at_a_checkpoint": dies})
        process.join()
        assert process.exitcode == -signal.SIGPROF and not (tmp_path / "killed.json").exists()
        resumable += any(tmp_path.glob("killed.ckpt/checkpoint-*/whole"))
    assert resumable >= 3
    start("killed", {}).join()
    ended, expected = outcome(tmp_path, "killed"), outcome(tmp_path, "whole")
    assert ended["resumed_at"] > 0 == expected["resumed_at"]
    assert ended["losses"] == expected["losses"] and ended["loss"] == expected["loss"]
    assert same(tmp_path / "killed", tmp_path / "whole")
    assert same(tmp_path / "killed.ckpt/snapshot", tmp_path / "whole.ckpt/snapshot")


def test_an_update_that_does_not_divide_is_refused():
    assert texts_a_device(8, processes=2, steps=2) == 2
    with pytest.raises(
        UserError, match=r"^batch_size is 8: .* multiple of 6: 3 processes .* x 2 gradient_acc"
    ):
        texts_a_device(8, processes=3, steps=2)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^device is 'cuda', .* valid: cpu, auto"):
        joined("cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^device is 'auto', .* 2 processes were launched; valid: cpu"):
        joined("auto")


def test_the_loss_of_the_last_epoch_weighs_its_parts_by_their_updates():
    history = [{"step": 10, "loss": 9.0}, {"step": 14, "loss": 4.0}, {"step": 14, "train_loss": 1.0}]
    history += [{"step": 18, "loss": 3.0}, {"step": 20, "loss": 1.0}]
    assert loss_of_last_epoch(history, updates=10) == pytest.approx((4 * 4 + 4 * 3 + 2 * 1) / 10)
    assert loss_of_last_epoch(history[:1], updates=10) == 9.0
