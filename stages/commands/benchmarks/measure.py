"""Timing procedures in turn, and what a list of timings comes to."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from weightgraft.progress import bar


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of n values."""

    median: float
    low: float
    high: float
    n: int


def in_turn(
    procedures: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, label: str
) -> dict[str, list[float]]:
    """Seconds of every run: A B C, A B C, ... after one round that is not counted. What slows the machine for a
    while slows all of them. label: of the progress bar."""
    seconds: dict[str, list[float]] = {name: [] for name in procedures}
    with bar(label, rounds + 1, "rounds", leave=False) as shown:
        for number in range(rounds + 1):
            for name, procedure in procedures.items():
                _synchronize(device)
                start = time.perf_counter()
                procedure()
                _synchronize(device)
                if number:
                    seconds[name].append(time.perf_counter() - start)
            shown.update()
    return seconds


def spread(values: Sequence[int | float]) -> Spread:
    """Median and quartiles."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return Spread(float(median), float(low), float(high), len(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio within each pair of runs that followed each other."""
    return [one / other for one, other in zip(above, below, strict=True)]


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
