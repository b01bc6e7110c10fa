"""Next-token training with transformers' Trainer; interrupted work resumes from .ckpt/."""

import hashlib
import json
import math
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from accelerate import PartialState
from peft import PeftModel
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from stages.modeling.memory import memory_lines, memory_there, peak_parts
from stages.modeling.models import end_with_launcher, is_main_process, save_model
from stages.modeling.order import TextOrder
from weightgraft.errors import UserError
from weightgraft.progress import bar

# Updates between two checkpoints of an epoch. A checkpoint takes 12 bytes a parameter to a disk; an update moves some 60 in a
# memory that is a thousand times faster. So one costs the time of 200 updates: in 5,000 that is 4 %, and a kill costs minutes.
LONGEST_PART = 5000
MARK = "run.sha256"  # says whose checkpoints a folder has
WHOLE = "whole"  # marks a checkpoint that every process wrote to its end
NO_LABEL = -100  # the loss leaves such tokens out
OURS = ("batch_size", "gradient_checkpointing")  # settings that are no TrainingArguments by this name


def tokenize_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, list[int]]]:
    """One row a text, ended by <eos>. Every token is a label, <eos> too where it is also what texts are padded with."""
    rows = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(texts))["input_ids"]]
    return [{"input_ids": ids, "labels": ids} for ids in rows]


def fingerprint(*parts: Any) -> str:
    """A hash of what shapes a training run, library versions and threads included: a checkpoint with another is stale."""
    machine = [torch.__version__, transformers.__version__, torch.get_num_threads()]
    return hashlib.sha256(json.dumps([*parts, machine], sort_keys=True).encode()).hexdigest()


def discard(checkpoint: Path) -> None:
    """Remove a run's checkpoints: its results are written, or they are another run's. The mark goes first: half of them is none."""
    (checkpoint / MARK).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def begin(checkpoint: Path, run: str) -> None:
    """The run's folder of checkpoints, without those of another run; made by the main process."""
    mark = checkpoint / MARK
    if is_main_process():
        if not (mark.exists() and mark.read_text() == run):
            discard(checkpoint)
        checkpoint.mkdir(parents=True, exist_ok=True)
        mark.write_text(run)
    PartialState().wait_for_everyone()


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that every process wrote to its end (then it is marked); the main process removes the others."""
    if is_main_process():
        for path in folder.glob("checkpoint-*"):
            if not (path / WHOLE).exists():
                shutil.rmtree(path)
    PartialState().wait_for_everyone()
    return get_last_checkpoint(str(folder))


class Checkpoints(TrainerCallback):
    """Logs and saves also within an epoch, where it is long; marks what is whole, and only then removes what was before it."""

    def __init__(self, updates: int):
        self.updates = updates  # of an epoch
        self.every = math.ceil(updates / math.ceil(updates / LONGEST_PART))

    def on_step_end(self, args, state, control, **kwargs):
        done = state.global_step % self.updates
        if done and done % self.every == 0:  # the end of an epoch is the Trainer's own
            control.should_log = control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        PartialState().wait_for_everyone()
        if is_main_process():
            newest = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (newest / WHOLE).touch()
            for path in newest.parent.glob("checkpoint-*"):
                if path != newest:
                    shutil.rmtree(path)


class Snapshot(TrainerCallback):
    """Saves the model as it is after an epoch: before that epoch's checkpoint, so that a resumed run has it too."""

    def __init__(self, epoch: int, path: Path, tokenizer: PreTrainedTokenizerBase):
        self.epoch, self.path, self.tokenizer = epoch, path, tokenizer

    def on_epoch_end(self, args, state, control, **kwargs):
        if round(state.epoch) == self.epoch:
            save_model(kwargs["model"], self.tokenizer, self.path)


class Progress(TrainerCallback):
    """A bar of updates with the last loss. The Trainer's own is a line an update where there is no terminal.

    label: what is trained; several trainings may write to one log.
    """

    def __init__(self, label: str):
        self.label = label

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = bar(
            self.label, state.max_steps, "updates", begun=state.global_step, shown=is_main_process()
        )

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}", refresh=False)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


class TextTrainer(Trainer):
    """transformers' Trainer, but for the order of the texts. The dataset's last row is the blank text."""

    def _get_train_sampler(self, train_dataset=None):
        args, rows = self.args, cast(Sequence[Mapping], self.train_dataset)
        together = args.per_device_train_batch_size * args.world_size
        batch_size = together * args.gradient_accumulation_steps
        updates = math.ceil((len(rows) - 1) / batch_size)
        return TextOrder(
            [len(row["input_ids"]) for row in rows[:-1]],
            batch_size,
            args.seed,
            multiple=together if args.world_size > 1 else 1,
            epoch=lambda: self.state.global_step // updates,
        )


def tell_memory(model: PreTrainedModel | PeftModel, rows: Sequence[Mapping], args: TrainingArguments) -> None:
    """Print the estimated peak on one device beside what is there."""
    parameters = list(model.parameters())
    parts = peak_parts(
        model.config,
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        args.per_device_train_batch_size,
        max(len(row["input_ids"]) for row in rows),
        bf16=args.bf16,
        checkpointing=bool(args.activation_checkpointing),
        processes=args.world_size,
        sharded=os.environ.get("ACCELERATE_USE_FSDP") == "true",
    )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    for line in memory_lines(parts, memory_there(args.device, here), f"for each process on {args.device}"):
        print(line)


def texts_a_device(batch_size: int, processes: int, steps: int) -> int:
    """How many texts of an update one device takes in one step.

    Raises:
        UserError: the update does not divide into equal steps.
    """
    if batch_size % (processes * steps):
        raise UserError(
            f"batch_size is {batch_size}: the texts of an update on all devices together, so it must be a multiple of "
            f"{processes * steps}: {processes} processes (launch.train) x {steps} gradient_accumulation_steps"
        )
    return batch_size // (processes * steps)


def joined(device: str) -> PartialState:
    """This process's place among those that train together; they are then connected.

    Raises:
        UserError: there is no GPU where one is asked for, or several processes and nothing to connect them by.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', but torch finds no GPU here; valid: cpu, auto")
    end_with_launcher()
    state, launched = PartialState(cpu=device == "cpu"), int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != launched:
        raise UserError(
            f"device is {device!r}, there is no GPU, and {launched} processes were launched; valid: cpu"
        )
    return state


def loss_of_last_epoch(history: Sequence[Mapping[str, Any]], updates: int) -> float:
    """Mean of the logged losses since the last epoch began, each weighted by the updates that it is the mean of."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    last = logged[-1][0]
    begun = (last - 1) // updates * updates
    parts = [(step, loss) for step, loss in logged if step > begun]
    weights = [
        step - before for (step, _), before in zip(parts, [begun, *(step for step, _ in parts)], strict=False)
    ]
    return statistics.fmean((loss for _, loss in parts), weights)


def train(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    settings: Mapping[str, Any],
    device: str,
    seed: int,
    checkpoint: Path,
    run: str,
    snapshot_epoch: int | None = None,
) -> float:
    """Train `model` in place, in float32, on next-token prediction over all tokens (PAPER.md, "Finetuning").

    Under `accelerate launch` every process calls it: they share out the texts of each update, or with FSDP also the weights.

    Args:
        settings: TrainingArguments by name (learning rate, epochs, ...), and batch_size: texts of an update, on all devices
            and accumulation steps together.
        device: cpu, cuda, or auto.
        checkpoint: folder for checkpoints, at least one an epoch; the caller discards it once the model is saved.
        run: fingerprint of the run; checkpoints of another one are discarded.
        snapshot_epoch: after this epoch the model is saved as it is then, in checkpoint/snapshot.

    Returns:
        Mean loss per token over the last epoch, in nats.

    Raises:
        UserError: batch_size does not divide among the processes, or the device is not there.
    """
    state, given = joined(device), {name: settings[name] for name in settings if name not in OURS}
    at_once = texts_a_device(
        settings["batch_size"], state.num_processes, settings.get("gradient_accumulation_steps", 1)
    )
    updates = math.ceil(len(texts) / settings["batch_size"])
    rows = tokenize_texts(texts, tokenizer)
    blank = {"input_ids": [tokenizer.pad_token_id] * 2, "labels": [NO_LABEL] * 2}
    model.float()
    begin(checkpoint, f"{run} {state.num_processes} {os.environ.get('ACCELERATE_USE_FSDP', 'false')}")

    callbacks: list[TrainerCallback] = [
        Checkpoints(updates),
        Progress("/".join(checkpoint.parts[-2:])),
    ]
    if snapshot_epoch:
        callbacks.append(Snapshot(snapshot_epoch, checkpoint / "snapshot", tokenizer))
    args = TrainingArguments(
        output_dir=str(checkpoint),
        seed=seed,
        lr_scheduler_type="linear",
        logging_strategy="epoch",
        save_strategy="epoch",
        disable_tqdm=True,  # its own bar; Progress is ours
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=device == "cpu",
        ddp_find_unused_parameters=False,
        per_device_train_batch_size=at_once,
        activation_checkpointing=settings.get("gradient_checkpointing", False),
        **given,
    )
    args._n_gpu = min(args.n_gpu, 1)  # one process uses one GPU: more would each take at_once texts
    if is_main_process():
        tell_memory(model, rows, args)
    trainer = TextTrainer(
        model=model,
        args=args,
        train_dataset=[*rows, blank],
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=NO_LABEL),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)  # which comes in place of the bar
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(checkpoint))
    return loss_of_last_epoch(trainer.state.log_history, updates)
