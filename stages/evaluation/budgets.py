"""The token budget of an evaluation: from free memory, and halved where a pass runs out of it."""

import sys
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from tqdm import tqdm
from transformers import PreTrainedModel

from stages.evaluation.memory import fitting_budget, sizes_of
from weightgraft.engine.scores import Scores
from weightgraft.errors import UserError

ON_CPU = 4096  # of `auto` there: the engine's default; more is no faster, and memory is rarely short


def starting_budget(
    wanted: int | Literal["auto"], model: PreTrainedModel, device: torch.device, nodes: int
) -> int:
    """The budget of params.yaml; `auto`: what fits the GPU's free memory, all models being there. nodes: tokens to which
    one attends at most."""
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        return ON_CPU
    clear_device_cache()  # what loading has left to torch is free too
    free, _ = torch.cuda.mem_get_info(device)
    return fitting_budget(model.config, model.dtype.itemsize, sizes_of(model).largest_matrix, nodes, free)


def within_memory(
    attempt: Callable[[int], Scores], budget: int, sizes: Callable[[], Sequence[int]], label: str
) -> tuple[Scores, int]:
    """(what attempt(budget) gives, the budget it took): half the budget after each time that it runs out of memory.

    sizes: gives the tokens of every prompt, alone. When no two of them fit a pass any more, nothing is left to halve.

    Raises:
        UserError: out of memory with one prompt a pass.
    """
    while True:
        try:
            return attempt(budget), budget
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        # Not inside `except`, where the error's traceback would keep the tensors of the pass that failed.
        clear_device_cache(garbage_collection=True)
        if budget < 2 * min(sizes()):
            raise UserError(
                f"{label}: out of memory with one prompt a pass, of up to {max(sizes())} tokens; give models.*.dtype bfloat16, "
                "a recipe with lora, or a device with more memory"
            )
        budget //= 2
        tqdm.write(f"{label}: out of memory; token budget now {budget}", file=sys.stderr)
