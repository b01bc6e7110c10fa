"""Benchmark of the grafting engine (`make bench`): times, memory and bfloat16, as tables (CSV) and a figure.

Five procedures, each timed in turn with packed: token_by_token copies the model for every token, as the paper's
procedure says; masked is one pass of the engine per scheme; packed is the engine, all schemes in one pass; plain is
one stock model over packed's rows; unpacked is one stock model over every prompt, once per scheme. Where schemes part between
layers (single cells, the grid of E3, heads), packed is timed against whole_rows, which does not split rows there.
"""

import argparse
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from transformers.utils import logging

from stages.commands.benchmarks.experiments import (
    HEADLINE,
    Run,
    agreement,
    along_layers,
    headline,
    memory,
    sweeps,
)
from stages.commands.benchmarks.figure import draw
from stages.commands.benchmarks.models import SIZES, Size, brief, cast, quick, random_pair
from stages.commands.benchmarks.table import Row, read_tables, readable, write_table
from stages.commands.benchmarks.workloads import Workload, aim, position_schemes, random_prompts
from stages.plotting.style import save_figure
from weightgraft import GraftedModel
from weightgraft.errors import UserError, run_main
from weightgraft.style import RC

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def measure(
    name: str, size: Size, dtypes: list[str], device: torch.device, threads: int, out: Path
) -> list[Path]:
    """Measure one size on one device; write and print a table for each type. Gives the paths written.

    Sweeps, schemes that part between layers, and memory are measured in float32 only. Both types have the same weights,
    prompts and schemes.
    """
    rows: dict[str, list[Row]] = {dtype: [] for dtype in dtypes}
    if "float32" in dtypes:  # before this process has models of its own: two pairs of the largest fit nowhere
        rows["float32"] += memory(Run(name, size, "float32", device, threads))
    pre, sft = random_pair(size.architecture, device)
    prompts = aim(random_prompts(size.prompts, pre.config.vocab_size), sft)
    workload = Workload(prompts, position_schemes())
    reference = GraftedModel(pre, {"sft": sft}).score(workload.prompts, workload.schemes)
    paths = []
    for dtype in dtypes:
        short = dtype == "bfloat16"
        run = Run(name, brief(size) if short else size, dtype, device, threads)
        models = cast((pre, sft), DTYPES[dtype])
        rows[dtype] += headline(run, models, workload)
        if short:
            scores = GraftedModel(pre, {"sft": sft}).score(workload.prompts, workload.schemes)
            rows[dtype] += agreement(run, workload, reference, scores)
        else:
            rows[dtype] += sweeps(run, models)
            if size.split_rounds:
                rows[dtype] += along_layers(run, models)
        paths.append(out / f"{name}-{dtype}-{device.type}.csv")
        write_table(rows[dtype], paths[-1])
        print(readable(pd.DataFrame(rows[dtype])), end="\n\n", flush=True)
    return paths


def closing_line(out: Path, paths: list[Path]) -> str:
    """What was written, and the numbers that matter: how much faster than token by token, at what price."""
    table = pd.concat([pd.read_csv(path) for path in paths])
    found = table[table["experiment"] == HEADLINE].set_index(["size", "dtype", "device", "quantity"])["value"]
    claims = [
        f"{size} {dtype} on {device}: {found[size, dtype, device, 'token_by_token / packed']:.0f} times as fast "
        f"as token by token, {found[size, dtype, device, 'packed / plain']:.3f} times a plain forward"
        for size, dtype, device in found.index.droplevel("quantity").unique()
    ]
    names = ", ".join(path.name for path in paths)
    return f"bench: {out}: {names}, bench.png, bench.svg; packed is\n  " + "\n  ".join(claims)


def _devices(wanted: str) -> list[torch.device]:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device 'cuda': torch sees no GPU here; choose from auto, cpu")
    names = {"auto": ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]}.get(wanted, [wanted])
    return [torch.device(name) for name in names]


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads; choose 1, 2, ...")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables and the figure")
    parser.add_argument("--size", nargs="+", default=["tiny", "gpt2"], choices=SIZES)
    parser.add_argument("--dtype", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: the CPU, and a GPU if any"
    )
    parser.add_argument("--threads", type=_threads, default=2, help="of torch on the CPU")
    parser.add_argument("--quick", action="store_true", help="few timings: does it run? not for the record")
    args = parser.parse_args()
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {str(args.out)!r}: a file; give a folder")
    devices = _devices(args.device)
    torch.set_num_threads(args.threads)
    logging.set_verbosity_error()
    dtypes = [dtype for dtype in DTYPES if dtype in args.dtype]  # float32 first: weights are rounded in place
    paths = []
    for name in dict.fromkeys(args.size):
        size = quick(SIZES[name]) if args.quick else SIZES[name]
        for device in devices:
            paths += measure(name, size, dtypes, device, args.threads, args.out)
    with matplotlib.rc_context(RC):
        save_figure(draw(read_tables(args.out)), args.out / "bench")
    print(closing_line(args.out, paths))


if __name__ == "__main__":
    run_main(main)
