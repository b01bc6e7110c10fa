"""Which texts make up each update: the same ones on one device and on several, in one step or accumulated over several."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


def text_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[int]:
    """The texts of an epoch in order; an update takes `batch_size` of them, of like length, so that little is padded.

    A function of its arguments alone, so that every process and every resumed run finds the same order. It is the order of
    the Trainer's group_by_length on one device, where no dropout draws from the CPU's generator.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epoch):
        _draw_of_the_data_loader(generator)
        torch.randperm(len(lengths), generator=generator)
    _draw_of_the_data_loader(generator)
    return get_length_grouped_indices(lengths, batch_size, generator=generator)


def _draw_of_the_data_loader(generator: torch.Generator) -> None:
    """torch's DataLoader takes one number (the seed of its workers) before the Trainer's own sampler shuffles."""
    torch.empty((), dtype=torch.int64).random_(generator=generator)


class TextOrder(Sampler[int]):
    """What a data loader reads: the epoch's order, filled up with blank texts to whole batches on every process.

    accelerate hands out batches of per-device size in turn: the first to process 0, the next to process 1, and so on. A last
    batch that is short it would fill up with texts of the epoch's beginning, which would then count twice.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        multiple: int,
        epoch: Callable[[], int],
    ):
        """
        Args:
            lengths: of the texts, in tokens; the blank text is the row behind them.
            batch_size: texts of one update, on all devices together.
            multiple: texts of one step of all processes; 1 leaves the last batch short.
            epoch: the epoch that begins (counted from 0), asked when iteration does.
        """
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.multiple, self.epoch = multiple, epoch

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.multiple) * self.multiple

    def __iter__(self) -> Iterator[int]:
        yield from text_order(self.lengths, self.batch_size, self.seed, self.epoch())
        yield from [len(self.lengths)] * (len(self) - len(self.lengths))
