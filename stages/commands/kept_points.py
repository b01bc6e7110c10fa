"""Finetuning that keeps the model as it is after some of its updates: the very updates of the stage finetune (make beyond)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from stages.modeling.models import save_model
from stages.modeling.training import (
    NO_LABEL,
    OURS,
    Checkpoints,
    Progress,
    TextTrainer,
    begin,
    joined,
    last_whole_checkpoint,
    texts_a_device,
    tokenize_texts,
)


class Training(NamedTuple):
    """One training of a run. points: updates -> what the point is called in the results: a share, a number, a kind of text."""

    name: str
    texts: list[str]
    settings: dict[str, Any]
    points: dict[int, float | str]


def finetune_settings(own: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings of finetuning with the recipe's factors, as the stage finetune has them."""
    settings = dict(own)
    settings["learning_rate"] *= recipe["learning_rate_factor"]
    settings["num_train_epochs"] *= recipe["epochs_factor"]
    if recipe["weight_decay"] is not None:
        settings["weight_decay"] = recipe["weight_decay"]
    return settings


def updates_of(settings: Mapping[str, Any], texts: int) -> int:
    """The updates that so many texts an epoch make, as the Trainer counts them."""
    return math.ceil(settings["num_train_epochs"] * math.ceil(texts / settings["batch_size"]))


def shares_of(updates: int, points: int) -> list[int]:
    """After how many updates each of so many equal shares of a training ends, the last one at its end."""
    return [round(updates * point / points) for point in range(1, points + 1)]


class Points(TrainerCallback):
    """Keeps the model after some updates, each time whole or not at all. at: updates -> folder."""

    def __init__(self, at: Mapping[int, Path], tokenizer: PreTrainedTokenizerBase):
        self.at, self.tokenizer = at, tokenizer

    def on_step_end(self, args, state, control, **kwargs):
        if folder := self.at.get(state.global_step):
            save_model(kwargs["model"], self.tokenizer, folder)


def train_keeping(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    settings: Mapping[str, Any],
    device: str,
    seed: int,
    checkpoint: Path,
    run: str,
    at: Mapping[int, Path],
) -> None:
    """Train `model` in place, as stages.modeling.training.train in one process, and keep it at some points on the way.

    train() itself takes no callbacks, and every weight hangs on its file: this is beside it, and a test holds the last point
    against what it makes, bit by bit.

    Args:
        settings, device, seed, checkpoint, run: as for train().
        at: updates -> the folder in which the model after them is kept; within `checkpoint`, so that points of another run go
            away with its checkpoints. After a kill, those before the last whole checkpoint are there already.
    """
    joined(device)
    blank = {"input_ids": [tokenizer.pad_token_id] * 2, "labels": [NO_LABEL] * 2}
    model.float()
    begin(checkpoint, run)
    args = TrainingArguments(
        output_dir=str(checkpoint),
        seed=seed,
        lr_scheduler_type="linear",
        logging_strategy="epoch",
        save_strategy="epoch",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=device == "cpu",
        per_device_train_batch_size=texts_a_device(
            settings["batch_size"], 1, settings.get("gradient_accumulation_steps", 1)
        ),
        **{name: settings[name] for name in settings if name not in OURS},
    )
    args._n_gpu = min(args.n_gpu, 1)
    trainer = TextTrainer(
        model=model,
        args=args,
        train_dataset=[*tokenize_texts(texts, tokenizer), blank],
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=NO_LABEL),
        # Points first: they are on the disk before the checkpoint from which a killed run would go on.
        callbacks=[
            Points(at, tokenizer),
            Checkpoints(math.ceil(len(texts) / settings["batch_size"])),
            Progress(checkpoint.name),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(checkpoint))
