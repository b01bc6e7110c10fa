"""make runs: do the verdicts stand in another training? The whole study again, each run with its own world, base and finetuning.

A run is one model in a copy of the repository (.runs/MODEL-SEED), which keeps its tables and lock and shares the cache: a killed
run goes on, and one that is finished is not done again. Each puts its verdicts into results/runs as soon as it ends; then the
claims are judged over all runs that are there, and figures and report are drawn again.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

from stages.analysis.claims import read_claims
from stages.analysis.replication import LEAST_RUNS, coverage, judge_replication
from stages.analysis.tables import write_csv
from stages.commands.quick import environment_of, make_copy, show_again
from stages.commands.recover import recover
from stages.plotting.replication import runs_figure
from stages.plotting.style import save_figure
from stages.study.params import load_section
from weightgraft.errors import UserError, run_main
from weightgraft.progress import bar
from weightgraft.style import RC

COPIES = Path(".runs")
VERDICTS = Path("verdicts")  # in results/runs: a file a run
SIMULATED = {"facts": 100, "studies": 2000, "resamples": 500, "seed": 0}
SPREADS = (1, 2, 4)


def changes_of(model: str, seed: int) -> dict[str, Any]:
    """What a run has in params.yaml: one model, and the seed for the world, the base and finetuning alike."""
    return {
        "study.models": [model],
        "study.seeds": [seed],
        "study.repeats.models": [],
        "study.repeats.seeds": [],
        "study.new_form.models": [],
        "generate_facts.seed": seed,
        "pretrain.seed": seed,
    }


def runs_of(wanted: Mapping[str, int], models: Iterable[str], most: int | None) -> list[tuple[str, int]]:
    """(model, seed): all models' first runs before their second ones, so that what is cut off has some of each.

    Raises:
        UserError: a model has no runs.
    """
    for model in models:
        if model not in wanted:
            raise UserError(f"--models: {model!r} has no runs in params.yaml: {', '.join(wanted)}")
    chosen = {
        model: min(number, most or number)
        for model, number in wanted.items()
        if not models or model in models
    }
    return [
        (model, seed)
        for seed in range(1, max(chosen.values()) + 1)
        for model, number in chosen.items()
        if seed <= number
    ]


def make_runs(runs: list[tuple[str, int]], jobs: int, out: Path) -> None:
    """Make the runs, `jobs` of them side by side, each item by item; each one's verdicts are in `out` when it ends.

    Raises:
        UserError: one of them failed; it has said why. What had begun beside it is waited for, and nothing else is begun.
    """
    source = Path.cwd()
    failed: list[str] = []
    # All of them at once: a run that begins in ten hours is one of the same code and params.
    copies = {run: (COPIES / "{}-{}".format(*run)).resolve() for run in runs}
    for run, copy in copies.items():
        make_copy(source, copy, changes_of(*run), cache=source / ".dvc/cache")

    def work(run: tuple[str, int]) -> None:
        if failed:
            return
        name = "{}-{}".format(*run)
        copy = copies[run]
        recover(copy)
        command = [sys.executable, "-m", "stages.commands.repro", "--jobs", "1", "--only", "judge_claims"]
        if subprocess.run(command, cwd=copy, env=environment_of(copy)).returncode:
            failed.append(name)
            return
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copy / f"results/verdicts/{name}.csv", out / f"{name}.csv")
        shown.update()

    with bar("runs", len(runs), "runs") as shown, ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, runs))
    if failed:
        raise UserError(f"the run {failed[0]} failed; what had finished is kept: run again")


def read_single(folder: Path) -> pd.DataFrame:
    """The verdicts of all runs in a folder.

    Raises:
        UserError: there is none.
    """
    files = sorted((folder / VERDICTS).glob("*.csv"))
    if not files:
        raise UserError(f"{folder / VERDICTS}: no run has ended yet")
    return pd.concat([pd.read_csv(file) for file in files], ignore_index=True)


def judge(verdicts: pd.DataFrame, families: Mapping[str, str]) -> pd.DataFrame:
    """The verdicts over all runs, model by model, of the models with enough runs. families: of each model.

    Raises:
        UserError: no model has enough of them yet.
    """
    claims, settings = read_claims(Path("data/claims.yaml")).claims, load_section("judge_claims")
    tables = [
        judge_replication(claims, families[model], verdicts[verdicts["model"] == model], **settings)
        for model in families
        if verdicts.loc[verdicts["model"] == model, "seed"].nunique() >= LEAST_RUNS
    ]
    if not tables:
        raise UserError(f"no model has {LEAST_RUNS} runs yet; what has ended is kept: run again")
    return pd.concat(tables, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=[], help="just these; default: all that have runs")
    parser.add_argument(
        "--most", type=int, help="at most so many runs of each; default: those in params.yaml"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side, of one thread each")
    parser.add_argument("--out", type=Path, default=Path("results/runs"))
    parser.add_argument("--as-they-are", action="store_true", help="make no run: judge those that are there")
    args = parser.parse_args()
    wanted = load_section("beyond.runs")
    runs = runs_of(wanted, args.models, args.most)
    if not args.as_they_are:
        make_runs(runs, args.jobs, args.out / VERDICTS)
    single = read_single(args.out)
    table = judge(single, {model: load_section(f"models.{model}.family") for model in wanted})
    write_csv(table, args.out / "over_runs.csv")
    with matplotlib.rc_context(RC):
        save_figure(runs_figure(single, table), args.out / "runs")
    numbers = sorted({int(number) for number in wanted.values()})
    write_csv(coverage(numbers, SPREADS, **SIMULATED), args.out / "coverage.csv")
    whole = table[table["prompt"] == "all"]
    counts = ", ".join(f"{count} {word}" for word, count in whole["verdict"].value_counts().items())
    many = single.groupby(["model", "seed"]).ngroups
    print(f"runs: {args.out}: {many} runs; over runs {counts} of {len(whole)} verdicts")
    if args.out == Path("results/runs"):
        show_again()


if __name__ == "__main__":
    run_main(main)
