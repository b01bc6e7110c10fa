"""Next-token training with transformers' Trainer; interrupted work resumes from .ckpt/."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from transformers import (
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from stages.modeling.models import save_model


def tokenize_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, list[int]]]:
    """One row a text, ended by <eos>."""
    return [{"input_ids": [*ids, tokenizer.eos_token_id]} for ids in tokenizer(list(texts))["input_ids"]]


def fingerprint(*parts: Any) -> str:
    """A hash of what shapes a training run, library versions and threads included: a checkpoint with another is stale."""
    machine = [torch.__version__, transformers.__version__, torch.get_num_threads()]
    return hashlib.sha256(json.dumps([*parts, machine], sort_keys=True).encode()).hexdigest()


def discard(checkpoint: Path) -> None:
    """Remove a run's checkpoints: its model is saved, or they are another run's."""
    shutil.rmtree(checkpoint, ignore_errors=True)


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; unfinished ones are removed (the Trainer's state comes last)."""
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(path)
    return get_last_checkpoint(str(folder))


class Snapshot(TrainerCallback):
    """Saves the model as it is after an epoch: before that epoch's checkpoint, so that a resumed run has it too."""

    def __init__(self, epoch: int, path: Path, tokenizer: PreTrainedTokenizerBase):
        self.epoch, self.path, self.tokenizer = epoch, path, tokenizer

    def on_epoch_end(self, args, state, control, **kwargs):
        if round(state.epoch) == self.epoch:
            save_model(kwargs["model"], self.tokenizer, self.path)


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
    """Train all weights of `model` in place on next-token prediction over all tokens (PAPER.md, "Finetuning").

    Args:
        settings: TrainingArguments by name (learning rate, epochs, ...), and batch_size.
        device: cpu, cuda, or auto.
        checkpoint: folder for checkpoints, one an epoch; the caller discards it once the model is saved.
        run: fingerprint of the run; checkpoints of another one are discarded.
        snapshot_epoch: after this epoch the model is saved as it is then, in checkpoint/snapshot.

    Returns:
        Mean loss per token over the last epoch, in nats.
    """
    mark = checkpoint / "run.sha256"
    if not (mark.exists() and mark.read_text() == run):
        discard(checkpoint)
    checkpoint.mkdir(parents=True, exist_ok=True)
    mark.write_text(run)

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(checkpoint),
            seed=seed,
            lr_scheduler_type="linear",
            train_sampling_strategy="group_by_length",  # little padding: short and article texts in batches of their own
            logging_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=1,
            disable_tqdm=False,  # quiet libraries, but a bar
            dataloader_pin_memory=torch.cuda.is_available(),
            use_cpu=device == "cpu",
            per_device_train_batch_size=settings["batch_size"],
            **{name: value for name, value in settings.items() if name != "batch_size"},
        ),
        train_dataset=tokenize_texts(texts, tokenizer),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=[Snapshot(snapshot_epoch, checkpoint / "snapshot", tokenizer)] if snapshot_epoch else [],
    )
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(checkpoint))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]
