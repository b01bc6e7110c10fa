"""The experiments: each times some procedures in turn on a workload, and gives rows of the table."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from scipy.stats import spearmanr

from weightgraft import GraftedModel, Scores

from . import procedures
from .measure import Spread, in_turn, ratios, spread
from .memory import in_a_process, lora_bytes
from .models import Pair, Size, cast, random_pair
from .table import PER_PAIR, TOKENS, Row
from .workloads import (
    Workload,
    cell_schemes,
    grid_schemes,
    head_schemes,
    last_token_schemes,
    position_schemes,
    random_prompts,
    token_prompts,
)

TIMES = "times"
HEADLINE = "eight position schemes"
BELOW = ("plain", "whole_rows")  # what packed is a multiple of; the others are multiples of packed
CLOSE = 1.1  # ranks within this factor count as the same


@dataclass(frozen=True)
class Run:
    """What is measured, where. name: of the size. dtype: as torch writes it, without `torch.`. threads: on the CPU."""

    name: str
    size: Size
    dtype: str
    device: torch.device
    threads: int

    @property
    def n_layers(self) -> int:
        return self.size.architecture["n_layer"]

    def row(self, experiment: str, workload: Workload, quantity: str, unit: str, values: Spread) -> Row:
        """A row of the table."""
        return Row(
            size=self.name,
            dtype=self.dtype,
            device=self.device.type,
            threads=self.threads,
            experiment=experiment,
            prompts=len(workload.prompts),
            prompt_tokens=workload.prompt_tokens,
            schemes=len(workload.schemes),
            layers=self.n_layers,
            quantity=quantity,
            value=values.median,
            unit=unit,
            low=values.low,
            high=values.high,
            n=values.n,
        )


def procedures_on(models: Pair, workload: Workload, names: Sequence[str]) -> dict[str, Callable[[], object]]:
    """Some procedures on a workload, ready to be called. The token-by-token procedure takes one prompt under one
    scheme a call, the next scheme at the next call; the others take all prompts and schemes."""
    pre, sft = models
    grafted, prompts, schemes = GraftedModel(pre, {"sft": sft}), workload.prompts, workload.schemes
    whole_rows = procedures.WholeRows(pre, {"sft": sft})
    rows = procedures.packed_rows(grafted, pre, prompts, schemes) if "plain" in names else []
    turns = itertools.cycle(schemes)
    ready: dict[str, Callable[[], object]] = {
        "token_by_token": lambda: procedures.token_by_token(pre, {"sft": sft}, prompts[0], next(turns)),
        "masked": partial(procedures.masked, grafted, prompts, schemes),
        "packed": partial(procedures.packed, grafted, prompts, schemes),
        "whole_rows": partial(procedures.packed, whole_rows, prompts, schemes),
        "plain": lambda: [len(logits) for logits in procedures.plain(pre, rows)],
        "unpacked": partial(procedures.unpacked, pre, prompts, len(schemes)),
    }
    return {name: ready[name] for name in names}


def timed(
    run: Run, models: Pair, experiment: str, workload: Workload, names: Sequence[str], rounds: int, label: str
) -> Iterator[Row]:
    """Rows for some procedures, timed in turn: of each its time, and its ratio to packed within each round."""
    ready = procedures_on(models, workload, names)
    seconds = in_turn(ready, rounds, run.device, f"{run.name} {run.dtype} {label}")
    cells = {name: 1 if name == "token_by_token" else workload.cells for name in names}
    each = {name: [1000 * one / cells[name] for one in seconds[name]] for name in names}
    for name in names:
        yield run.row(experiment, workload, name, PER_PAIR, spread(each[name]))
    for name in names:
        if name != "packed":
            above, below = ("packed", name) if name in BELOW else (name, "packed")
            values = spread(ratios(each[above], each[below]))
            yield run.row(experiment, workload, f"{above} / {below}", TIMES, values)


def tokens_computed(
    run: Run, models: Pair, experiment: str, workload: Workload, whole_rows: bool = False
) -> Iterator[Row]:
    """How many tokens are computed for a prompt, on average over layers: packed; without splitting rows between layers, if
    whole_rows; and by one pass per scheme."""
    pre, sft = models
    engines = {"packed": GraftedModel, "whole_rows": procedures.WholeRows}
    for name in engines if whole_rows else ("packed",):
        engine = engines[name]
        counts = engine(pre, {"sft": sft}).node_counts(workload.prompts, workload.schemes)
        yield run.row(experiment, workload, name, TOKENS, spread([count / run.n_layers for count in counts]))
    alone = workload.prompt_tokens * len(workload.schemes)
    yield run.row(experiment, workload, "masked", TOKENS, spread([alone]))


def headline(run: Run, models: Pair, workload: Workload) -> Iterator[Row]:
    """All procedures on the eight position schemes and 15-token prompts."""
    size = run.size
    yield from tokens_computed(run, models, HEADLINE, workload)
    yield from timed(run, models, HEADLINE, workload, ("packed", "plain"), size.pairs, "packed against plain")
    for names, rounds, label in (
        (("masked", "unpacked", "packed"), size.rounds, "one pass per scheme"),
        (("token_by_token", "packed"), size.copies, "token by token"),
    ):
        rows = timed(run, models, HEADLINE, workload, names, rounds, label)
        # packed has its row already, from the most timings
        yield from (row for row in rows if row["quantity"] != "packed")


def sweeps(run: Run, models: Pair) -> Iterator[Row]:
    """Growth with prompt length, number of position schemes, number of schemes that differ only at LT, layers."""
    size, vocab = run.size, run.size.architecture["vocab_size"]
    prompts = random_prompts(size.sweep_prompts, vocab)
    for length in size.lengths:
        longer = random_prompts(size.sweep_prompts, vocab, length)
        yield from _point(run, models, "prompt length", Workload(longer, position_schemes()))
    for count in size.position_schemes:
        yield from _point(run, models, "position schemes", Workload(prompts, position_schemes(count)))
    for count in size.last_token_schemes:
        yield from _point(run, models, "schemes at LT", Workload(prompts, last_token_schemes(count)))
    for n_layers in size.layers:
        deeper = replace(run, size=replace(size, architecture={**size.architecture, "n_layer": n_layers}))
        pair = cast(random_pair(deeper.size.architecture, run.device), models[0].dtype)
        yield from _point(deeper, pair, "layers", Workload(prompts, position_schemes()))


def _point(run: Run, models: Pair, experiment: str, workload: Workload) -> Iterator[Row]:
    copies = ("token_by_token",) if run.size.copies_in_sweeps else ()
    label = (
        f"{experiment}: {workload.prompt_tokens} tokens, {len(workload.schemes)} schemes, "
        f"{run.size.architecture['n_layer']} layers"
    )
    yield from tokens_computed(run, models, experiment, workload)
    names = (*copies, "masked", "packed", "plain")
    yield from timed(run, models, experiment, workload, names, run.size.sweep_rounds, label)


def along_layers(run: Run, models: Pair) -> Iterator[Row]:
    """Schemes that part between layers, against rows that are the same in all of them: a map of single cells, E3's grid,
    single heads."""
    size = run.size
    n_heads, vocab = size.architecture["n_head"], size.architecture["vocab_size"]
    prompts = random_prompts(size.split_prompts, vocab)
    for experiment, workload in (
        ("single cells", Workload(token_prompts(1, vocab), cell_schemes(run.n_layers))),
        ("grid of E3", Workload(prompts, grid_schemes())),
        ("heads", Workload(prompts, head_schemes(run.n_layers, n_heads))),
    ):
        yield from tokens_computed(run, models, experiment, workload, whole_rows=True)
        yield from timed(
            run, models, experiment, workload, ("whole_rows", "packed"), size.split_rounds, experiment
        )


def memory(run: Run) -> Iterator[Row]:
    """Two dense float32 models and the eight position schemes in a process of their own; a LoRA donor by itself."""
    size = run.size
    workload = Workload(random_prompts(size.prompts, size.architecture["vocab_size"]), position_schemes())
    process = in_a_process(run.name, size.prompts, run.device, run.threads)
    held, recipient = lora_bytes(size.architecture)
    for quantity, value, unit in (
        ("one model's weights", process["weights"] / 1e9, "GB"),
        ("held beyond both dense models", process["held"] / 1e9, "GB"),
        ("peak of the process, two dense models", process["peak"] / 1e9, "GB"),
        ("rank-16 LoRA donor on every linear layer", 100 * held / recipient, "% of the recipient"),
    ):
        yield run.row("memory", workload, quantity, unit, spread([value]))


def agreement(run: Run, workload: Workload, reference: Scores, scores: Scores) -> Iterator[Row]:
    """How well target ranks agree with those of float32, over all prompts and schemes."""
    ranks, theirs = scores.target_rank.flatten(), reference.target_rank.flatten()
    close = torch.maximum(ranks / theirs, theirs / ranks) <= CLOSE
    same = scores.top1_token == reference.top1_token
    for quantity, value in (
        ("Spearman correlation of target ranks", float(spearmanr(ranks.numpy(), theirs.numpy()).statistic)),
        ("share with the same top-1 token", float(same.float().mean())),
        (f"share of ranks within a factor of {CLOSE}", float(close.float().mean())),
    ):
        values = Spread(value, value, value, len(ranks))
        yield run.row("agreement with float32", workload, quantity, "of 1", values)
