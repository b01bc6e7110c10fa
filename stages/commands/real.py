"""make real: the study on language models that were really pretrained, each in a copy of the repository of its own (.real/MODEL),
with what params.yaml's `real` says of it in place of the tiny half's settings.

A copy keeps its weights, tables and lock, and shares the cache: only what changed runs again, and a killed run goes on. What it
found goes to results/real, and the figures and the report are drawn again with it.
"""

import argparse
import re
import shutil
from pathlib import Path

from stages.analysis.provenance import read_lock
from stages.commands.demo import draw_map
from stages.commands.quick import make_copy, repro, show_again
from stages.commands.recover import drop_gone
from stages.commands.unchanged import SHOW
from stages.frame.rows import read_jsonl
from stages.study.params import load_section
from weightgraft.errors import UserError, run_main

COPIES = Path(".real")
SHOWN = ("summary", "verdicts", "metrics")  # of a copy's results
MAPPED = "headline"  # the first fact's prompt of which a map is drawn


def publish(copy: Path, model: str, out: Path) -> None:
    """Put a copy's results in the place of what stood in `out` about this model, with the lock that says what made them, and
    nothing of the copy's own figures and report, which are not published."""
    for kind in SHOWN:
        for old in sorted((out / kind).rglob(f"{model}*")):
            if not re.fullmatch(rf"{re.escape(model)}(-\d+(-[\w-]+)?)?", old.stem):
                continue  # of a model whose name begins alike
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        shutil.copytree(copy / "results" / kind, out / kind, dirs_exist_ok=True)
    for name, file in (("dvc.lock", f"{model}.lock"), ("results/run_time.csv", f"{model}_run_time.csv")):
        if (copy / name).stat().st_size:  # the times are written by a run that trained everything
            shutil.copyfile(copy / name, out / file)
    drop_gone(out / f"{model}.lock", {*read_lock(copy / "dvc.lock")} - {*SHOW})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", help="of params.yaml's real; default: all of them")
    parser.add_argument("--jobs", type=int, default=2, help="items that run side by side, of one thread each")
    parser.add_argument("--out", type=Path, default=Path("results/real"))
    args = parser.parse_args()
    declared = load_section("real")
    source = Path.cwd()
    for model in args.models or declared:
        if model not in declared:
            raise UserError(f"--models: {model!r} is not in params.yaml's real; valid: {', '.join(declared)}")
    for model in args.models or declared:
        copy = (COPIES / model).resolve()
        changes = {"study.models": [model], **declared[model]}
        make_copy(source, copy, changes, cache=source / ".dvc/cache")
        repro(copy, jobs=args.jobs)
        publish(copy, model, args.out)
        seed = load_section("study.seeds", copy / "params.yaml")[0]
        donor, picture = copy / f"runs/finetune/{model}-{seed}/fmra", args.out / f"{model}_map.png"
        picture.unlink(missing_ok=True)
        if "fmra" in load_section("study.recipes", copy / "params.yaml"):
            told = read_jsonl(copy / "runs/facts/prompts/fmra.jsonl")
            row = next(row for row in told if row["prompt"] == MAPPED)
            draw_map(copy / f"runs/pretrain/{model}", donor, row, picture)
        print(f"real: {args.out}: what {model} shows; its weights and tables are in {COPIES / model}")
    if args.out == Path("results/real"):
        show_again()


if __name__ == "__main__":
    run_main(main)
