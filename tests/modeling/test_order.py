"""Claims about the order of the texts: the Trainer's own on one device, and the same updates on any number of devices."""

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler
from transformers import Trainer, TrainingArguments

from stages.modeling.order import TextOrder, text_order

BATCH = 8
LENGTHS = [3 + i * 7 % 11 for i in range(101)]  # the last update has five texts


@pytest.mark.parametrize("seed", [0, 1])
def test_on_one_device_it_is_the_order_of_the_trainers_group_by_length(tmp_path, seed):
    """What the committed models were trained with: the Trainer's own sampler, which draws from torch's generator."""
    trainer = Trainer(
        model=torch.nn.Linear(1, 1),
        args=TrainingArguments(
            output_dir=str(tmp_path),
            seed=seed,
            train_sampling_strategy="group_by_length",
            per_device_train_batch_size=BATCH,
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        ),
        train_dataset=[{"input_ids": [i] * length} for i, length in enumerate(LENGTHS)],
        data_collator=lambda rows: [row["input_ids"][0] for row in rows],
    )
    loader = trainer.get_train_dataloader()
    seen = [[text for batch in loader for text in batch] for _ in range(3)]
    assert seen == [text_order(LENGTHS, BATCH, seed, epoch) for epoch in range(3)]
    assert seen[0] != seen[1] != seen[2]


@pytest.mark.parametrize(("processes", "steps"), [(1, 1), (1, 2), (2, 1), (2, 2), (4, 2), (8, 1)])
def test_every_update_has_the_same_texts_however_it_is_shared_out(processes, steps):
    """And each text counts once an epoch: what accelerate would fill up with texts of the beginning is blank."""
    at_once = BATCH // (processes * steps)
    multiple = at_once * processes if processes > 1 else 1
    batches = BatchSampler(TextOrder(LENGTHS, BATCH, 0, multiple, lambda: 1), at_once, drop_last=False)
    shards = [list(batches)]
    if processes > 1:  # as accelerate does
        shards = [list(BatchSamplerShard(batches, processes, rank)) for rank in range(processes)]
    assert len({len(shard) for shard in shards}) == 1
    expected = text_order(LENGTHS, BATCH, 0, epoch=1)
    blank = len(LENGTHS)
    for update, start in enumerate(range(0, len(LENGTHS), BATCH)):
        its = slice(update * steps, (update + 1) * steps)
        texts = [text for shard in shards for batch in shard[its] for text in batch]
        assert sorted(set(texts) - {blank}) == sorted(expected[start : start + BATCH])
        assert len([text for text in texts if text != blank]) == len(expected[start : start + BATCH])
