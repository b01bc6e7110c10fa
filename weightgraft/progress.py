"""How far something is: a bar on a terminal; elsewhere (a pipe, a log, continuous integration) a line at every tenth."""

import sys
import time
from typing import Any

from tqdm import tqdm

BETWEEN_LINES = 1.0  # seconds at least: what is done in less is told in its last line


class Lines:
    """What we use of tqdm, in plain lines on stderr: one at each tenth of the total and one at the end; where the total is not
    known, one each time that the number has doubled."""

    def __init__(self, label: str, total: int | None, unit: str, begun: int, scaled: bool, patience: float):
        self.label, self.total, self.unit, self.scaled = label, total, unit, scaled
        self.n = self.begun = self.told = begun
        self.note, self.patience = "", patience
        self.start = self.before = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def set_description(self, label: str, refresh: bool = True) -> None:
        self.label = label

    def set_postfix_str(self, note: str, refresh: bool = True) -> None:
        self.note = note

    def update(self, more: int = 1) -> None:
        self.n += more
        now = time.monotonic()
        if (
            self._mark(self.n) > self._mark(self.told)
            and now - self.before >= BETWEEN_LINES
            and self.n != self.total  # then close() tells it
        ):
            self._tell(now)

    def close(self) -> None:
        if self.n > self.told:
            self._tell(time.monotonic())

    def _mark(self, n: int) -> int:
        return 10 * n // self.total if self.total else n.bit_length()

    def _count(self, n: int) -> str:
        return tqdm.format_sizeof(n) if self.scaled else f"{n:,}"

    def _tell(self, now: float) -> None:
        elapsed = now - self.start
        if elapsed < self.patience:
            return
        line = f"{self.label}: "
        if self.total:
            line += (
                f"{self.n / self.total:.0%}, {self._count(self.n)} of {self._count(self.total)} {self.unit}"
            )
        else:
            line += f"{self._count(self.n)} {self.unit}"
        line += f", {tqdm.format_interval(elapsed)} elapsed"
        if self.total and self.n < self.total:
            left = elapsed * (self.total - self.n) / (self.n - self.begun)
            line += f", {tqdm.format_interval(left)} left"
        print(line + (f", {self.note}" if self.note else ""), file=sys.stderr, flush=True)
        self.told, self.before = self.n, now


def bar(
    label: str,
    total: int | None,
    unit: str,
    *,
    begun: int = 0,
    scaled: bool = False,
    patience: float = 0.0,
    leave: bool = True,
    shown: bool = True,
) -> Any:
    """A progress bar to be brought forward with update(); use it in a `with`, so that it ends before anything else is told.

    Args:
        unit: what is counted, in the plural.
        begun: what was done before, and is counted in `total`.
        scaled: large numbers as 12.3M.
        patience: seconds without a bar or a line.
        leave: whether a finished bar stays on the terminal.
        shown: False: a bar that nobody sees, of a process that is not the main one.
    """
    if shown and not sys.stderr.isatty():
        return Lines(label, total, unit, begun, scaled, patience)
    return tqdm(
        desc=label,
        total=total,
        unit=f" {unit}",
        initial=begun,
        unit_scale=scaled,
        delay=patience,
        leave=leave,
        disable=not shown,
    )
