"""Watch a run of DVC from outside: memory of its whole process tree, room on the disk, and seconds, stage by stage."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

GB = 10**9
COLUMNS = ["model", "stage", "items", "seconds", "slowest_item_seconds", "peak_gb"]
INTERVAL = 0.2  # seconds between two looks
BETWEEN_WALKS = 5.0  # seconds between two counts of what is on the disk
STARTED = re.compile(rb"Running stage '([^']+)'")


@dataclass
class Watched:
    """One stage, as DVC names it: `finetune@gpt2-xl-0-fmra`. seconds: until the next one begins, DVC's own hashing included."""

    stage: str
    seconds: float = 0.0
    peak: int = 0  # bytes


class OverMemory(Exception):
    """The processes had more memory than they may; they are ended."""


def resident(processes: list[psutil.Process]) -> int:
    """Bytes of memory of processes. What several share (libraries, files that are mapped) counts for each: an upper bound. A
    copy of this process is left out: a new process shows the memory of the one that started it until it runs its own program."""
    total, this = 0, psutil.Process().cmdline()
    for process in processes:
        try:
            if process.cmdline() != this:
                total += process.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total


def on_disk(folder: Path) -> int:
    """Bytes that a folder takes: what is linked several times counts once, links to elsewhere not at all."""
    taken: dict[tuple[int, int], int] = {}
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(where, name))
            except FileNotFoundError:  # it has just gone
                continue
            taken[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(taken.values())


def watch(work: Callable[[], int], log: Path, folder: Path, limit: int) -> tuple[int, list[Watched], int]:
    """Run `work`, which starts processes and writes what they print into `log`, and watch them to the end.

    Args:
        folder: whose size on the disk is followed.
        limit: bytes of memory; where the processes take more, they are ended.

    Returns:
        What `work` returned, the stages in their order (before the first: `start`), and the most that was on the disk, in bytes.

    Raises:
        OverMemory: names the stage.
    """
    me, stages, disk, walked = psutil.Process(), [Watched("start")], 0, 0.0
    with ThreadPoolExecutor(1) as pool, open(log, "rb") as printed:
        running, before, rest = pool.submit(work), time.monotonic(), b""
        while True:
            ended = running.done()
            now = time.monotonic()
            stages[-1].seconds += now - before
            before, rest = now, rest + printed.read()
            *lines, rest = rest.split(b"\n")
            for line in lines:
                if begun := STARTED.match(line):
                    stages.append(Watched(begun[1].decode()))
            tree = me.children(recursive=True)
            stages[-1].peak = max(stages[-1].peak, resident(tree))
            if stages[-1].peak > limit:
                for process in tree:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                running.result()
                raise OverMemory(
                    f"{stages[-1].stage}: {stages[-1].peak / GB:.1f} GB, more than {limit / GB:.1f}"
                )
            if ended or now - walked > BETWEEN_WALKS:
                disk, walked = max(disk, on_disk(folder)), time.monotonic()
            if ended:
                return running.result(), stages, disk
            time.sleep(INTERVAL)


def table_of(stages: Sequence[Watched], models: Sequence[str]) -> pd.DataFrame:
    """One row a model and kind of stage, then one a stage of the whole study. graft, graft_setups, ...: all graft."""
    found: dict[tuple[str, str], list[Watched]] = {}
    for watched in stages:
        kind, _, item = watched.stage.partition("@")
        model = next((name for name in models if item.startswith(name)), "all")
        found.setdefault((model, kind.split("_")[0] if item else kind), []).append(watched)
    rows = [
        (
            *(model, kind, len(items), round(sum(item.seconds for item in items), 1)),
            *(round(max(item.seconds for item in items), 1), round(max(item.peak for item in items) / GB, 2)),
        )
        for (model, kind), items in sorted(found.items(), key=lambda entry: entry[0][0] == "all")
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
