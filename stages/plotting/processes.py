"""Several processes for what takes seconds and is independent: figures, and the parts of the report."""

import gc
import json
import multiprocessing
import os
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from stages.frame.timing import ASKED


def workers(number: int) -> ProcessPoolExecutor:
    """So many processes. On Linux they are copies of this one, which has imported everything; elsewhere what is usual there."""
    return ProcessPoolExecutor(
        number, multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    )


@contextmanager
def side_by_side(number: int, stage: str) -> Iterator[Callable]:
    """What stands for map(), over so many processes; over this one alone it is map().

    stage: under which name their seconds are told, where a run asks for them: run_stage tells only those of this process.
    """
    if number == 1:
        yield map
        return
    with workers(number) as pool:
        yield pool.map
    if path := os.environ.get(ASKED):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = {"stage": stage, "imports": 0, "work": round(used.ru_utime + used.ru_stime, 3)}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage in the block: its many thousand objects are in use, and would be looked through again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
