"""Trainings for the tests, run here or by `accelerate launch tests/modeling/training_jobs.py JOBS FOLDER`: one import for many.

A job is {name, settings: changes to SETTINGS, architecture, lora, dtype, fsdp, longest_part, at_a_checkpoint}; it leaves
FOLDER/NAME with the model and FOLDER/NAME.json, or, where something happens at a checkpoint, checkpoints alone: it is stopped,
it waits to be killed, or it dies as by SIGKILL. Or it is {stage, arguments}.
"""

import contextlib
import io
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from accelerate import DistributedType
from accelerate.state import AcceleratorState, PartialState
from peft import LoraConfig, get_peft_model
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from stages import finetune, pretrain
from stages.modeling import training
from stages.modeling.models import build_model, is_main_process, save_model, set_up
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import TextTrainer, train

# 60 texts of three lengths, 8 an update: the last update has 4, which 2 processes x 2 accumulation steps cannot share out evenly.
PAIRS = [(who, other) for who in "ABCDEFGHIJ" for other in "STUVWX"]
TEXTS = [f"{who} stars with {other}{' and more' * (i % 3)}." for i, (who, other) in enumerate(PAIRS)]
ARCHITECTURE = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32}
NO_DROPOUT = {
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}  # its masks differ between 1 and 2 processes
SETTINGS = {
    "num_train_epochs": 3,
    "batch_size": 8,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "warmup_steps": 1,
}


@contextlib.contextmanager
def fsdp_on_cpus() -> Iterator[None]:
    """accelerate turns FSDP on for GPUs only, though torch has it for CPUs: tell it that these will do."""
    begin = AcceleratorState.__init__

    def begin_sharded(self, *args, fsdp_plugin=None, **kwargs):
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        if fsdp_plugin is not None:  # what accelerate does where there are GPUs
            self.fsdp_plugin = fsdp_plugin
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)

    with mock.patch.object(AcceleratorState, "__init__", begin_sharded):
        yield


class Stopped(Exception):
    """A training ended at its first checkpoint."""


class AtACheckpoint(TrainerCallback):
    """What happens to a training once it has begun (count 0) or has written so many checkpoints.

    A training's own progress decides, so that a machine that stalls kills it neither too early nor too late.
    """

    def __init__(self, what: str, count: int = 1, seconds: float = 0.0):
        """what: "stop", "wait" or "die"; seconds: of the processor's time, after which it dies."""
        self.what, self.count, self.seconds = what, count, seconds

    def on_train_begin(self, args, state, control, **kwargs):
        if self.count == 0:
            self.happens()

    def on_save(self, args, state, control, **kwargs):
        self.count -= 1
        if self.count == 0:
            self.happens()

    def happens(self) -> None:
        if self.what == "stop":
            raise Stopped
        elif self.what == "wait":
            time.sleep(3600)
        else:  # nobody handles SIGPROF: like SIGKILL, it ends the process where it is
            signal.setitimer(signal.ITIMER_PROF, self.seconds)


def run_job(job: Mapping[str, Any], folder: Path) -> None:
    """Train one model; leaves the model, and what was printed and the losses that were logged."""
    trainers: list[TextTrainer] = []
    printed = io.StringIO()
    set_up(0, threads=1)
    tokenizer = train_tokenizer(TEXTS, 300, bos=False)
    model = build_model("gpt2", ARCHITECTURE | job.get("architecture", NO_DROPOUT), tokenizer)
    if job.get("lora"):
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", r=4, lora_alpha=8))
    settings = SETTINGS | job.get("settings", {})

    class Watched(TextTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            trainers.append(self)
            if "at_a_checkpoint" in job:
                # behind the one that marks the checkpoint as whole
                self.add_callback(AtACheckpoint(**job["at_a_checkpoint"]))

    with (
        fsdp_on_cpus() if job.get("fsdp") else contextlib.nullcontext(),
        mock.patch.object(training, "TextTrainer", Watched),
        mock.patch.object(training, "LONGEST_PART", job.get("longest_part", training.LONGEST_PART)),
        contextlib.redirect_stdout(printed),
    ):
        checkpoint = folder / f"{job['name']}.ckpt"
        try:
            loss = train(model, tokenizer, TEXTS, settings, "cpu", 0, checkpoint, "x", snapshot_epoch=1)
        except Stopped:
            return
    save_model(model, tokenizer, folder / job["name"], job.get("dtype", "float32"))
    if is_main_process():
        result = {
            "loss": loss,
            "losses": [entry["loss"] for entry in trainers[0].state.log_history if "loss" in entry],
            "printed": printed.getvalue(),
            "processes": PartialState().num_processes,
            "sharded": all(isinstance(weight, DTensor) for weight in model.parameters()),
            "resumed_at": trainers[0]._initial_global_step,
        }
        (folder / f"{job['name']}.json").write_text(json.dumps(result))


def run_stage(name: str, arguments: list[str]) -> None:
    """Run a stage's main(). The processes beside the main one read late: nothing may be removed before they have."""
    stage = {"finetune": finetune, "pretrain": pretrain}[name]
    load = stage.load_model

    def load_late(*args):
        time.sleep(0 if is_main_process() else 0.5)
        return load(*args)

    with (
        mock.patch.object(stage, "load_model", load_late),
        mock.patch.object(sys, "argv", [name, *arguments]),
    ):
        stage.main()


def main() -> None:
    jobs, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    for job in jobs:
        if "stage" in job:
            run_stage(job["stage"], job["arguments"])
        else:
            run_job(job, folder)


if __name__ == "__main__":
    main()
