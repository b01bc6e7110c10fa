"""make beyond: what needs more trainings than the study has, in copies of the repository (.beyond/), with the cache shared: one for
the models that are trained from nothing, and one for each really pretrained one, with what params.yaml's `real` says of it. As make
repro does, it leaves the really pretrained ones out unless they are named: they take hours.

frozen_tables: finetuned with embedding and unembedding as the base has them. trajectory: grafted at every tenth of the updates.
texts: few sentence forms a fact, or many. articles: texts without a template, and short ones. What a killed run finished is not
done again. The results go to results/beyond.
"""

import argparse
import itertools
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stages.analysis.tables import write_csv
from stages.commands.beyond_results import OVER_RUNS, draw, judge, publish, runs_of
from stages.commands.beyond_run import SETUP
from stages.commands.beyond_time import run_timed, time_table
from stages.commands.quick import NOTHING_MORE, environment_of, make_copy, repro, show_again
from stages.commands.repro import cpu_seconds
from stages.study.params import load_section
from weightgraft.errors import UserError, run_main
from weightgraft.progress import bar

STUDIES = ("frozen_tables", *OVER_RUNS)
TINY = "tiny"  # the copy of the models that are trained from nothing


def changes_of(
    section: Mapping[str, Any], setups: Mapping[str, Any], models: Sequence[str]
) -> dict[str, Any]:
    """What the copy has in params.yaml: the recipe with frozen tables and, as a part, the one beside it, both asked alike."""
    frozen = section["frozen_tables"]
    asked = setups[frozen["recipe"]]
    return NOTHING_MORE | {
        "study.models": [*models],
        "study.seeds": [frozen["seed"]],
        "study.recipes": [frozen["recipe"]],
        "study.parts": [frozen["beside"]],
        "study.setups": [SETUP],
        "study.new_form.recipes": [],
        f"setups.{SETUP}": {**asked, "donors": {"sft": frozen["beside"]}},
    }


def chosen_models(
    section: Mapping[str, Any],
    studies: Sequence[str],
    only: Sequence[str],
    declared: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[str]]:
    """The models of each study, of those asked for; where none is, those that are trained from nothing.

    declared: `models` of params.yaml.

    Raises:
        UserError: a model is in none of the studies.
    """
    known = {model for study in studies for model in section[study]["models"]}
    for model in only:
        if model not in known:
            raise UserError(
                f"--models: {model!r} is in none of {', '.join(studies)}: {', '.join(sorted(known))}"
            )
    wanted = {*only} or {model for model in known if not declared[model].get("source")}
    return {study: [model for model in section[study]["models"] if model in wanted] for study in studies}


def copies_of(
    models: Mapping[str, Sequence[str]], declared: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, Path]:
    """The copy of each model: one for all that are trained from nothing, one for each really pretrained one.

    declared: `models` of params.yaml.
    """
    needed = dict.fromkeys(itertools.chain.from_iterable(models.values()))
    return {model: folder / (model if declared[model].get("source") else TINY) for model in needed}


def run_all(
    copies: Mapping[str, Path], runs: Sequence[tuple[str, str, int]], jobs: int
) -> dict[str, list[float]]:
    """Make the runs (study, model, seed), `jobs` processes side by side, each in its model's copy and by the copy's code; the CPU
    seconds that each run of a study used.

    Raises:
        UserError: one of them failed; it has said why. What had begun beside it is waited for, and nothing else is begun.
    """
    failed: list[tuple[str, str, int]] = []
    seconds: defaultdict[str, list[float]] = defaultdict(list)

    def work(run: tuple[str, str, int]) -> None:
        if failed:
            return
        study, model, seed = run
        command = [sys.executable, "-m", "stages.commands.beyond_run", "--study", study]
        command += ["--model", model, "--seed", str(seed)]
        copy = copies[model]
        code, used = run_timed(command, copy, environment_of(copy))
        if code:
            failed.append(run)
        seconds[study].append(used)
        shown.update()

    with bar("beyond", len(runs), "runs") as shown, ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, runs))
    if failed:
        raise UserError(
            f"the run of {' '.join(map(str, failed[0]))} failed; what had finished is kept: run again"
        )
    return dict(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=STUDIES, help="just these; default: all four")
    parser.add_argument(
        "--models", nargs="*", default=[], help="default: those that are trained from nothing"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side, of one thread each")
    parser.add_argument("--copies", type=Path, default=Path(".beyond"), help="the folder of the copies")
    parser.add_argument("--out", type=Path, default=Path("results/beyond"))
    parser.add_argument(
        "--as-they-are", action="store_true", help="make no run: judge and draw the tables in --out again"
    )
    args = parser.parse_args()
    if args.as_they_are:
        judge(args.out)
        print(f"beyond: {args.out}: figures of {', '.join(draw(args.out)) or 'nothing: no table is there'}")
        return
    begun = time.monotonic()
    section, declared = load_section("beyond"), load_section("models")
    beside = section["frozen_tables"]["beside"]
    if load_section(f"recipes.{beside}.lora"):
        raise UserError(
            f"beyond.frozen_tables.beside is {beside!r}, which trains an adapter; whole models are trained here"
        )
    models = chosen_models(section, args.only or STUDIES, args.models, declared)
    real, setups, source = load_section("real"), load_section("setups"), Path.cwd()
    copies = copies_of(models, declared, args.copies.resolve())
    # Nothing is left out, and nothing is there yet: the times are those of the command.
    whole = not (args.only or args.models or args.copies.exists())
    for copy in dict.fromkeys(copies.values()):
        inside = [model for model, own in copies.items() if own == copy]
        changes = real.get(copy.name, {}) | changes_of(section, setups, inside)
        make_copy(source, copy, changes, cache=source / ".dvc/cache")
        frozen = {*inside} & {*models.get("frozen_tables", ())}
        repro(copy, "graft" if frozen else "pretrain", jobs=args.jobs)
    # The longest first, so that all processes end at about the same time: an article run takes as long as ten of a trajectory.
    order = [study for study in reversed(OVER_RUNS) if study in models]
    runs = [run for study in order for run in runs_of(section, models, study)]
    before = cpu_seconds()
    seconds = {"bases and frozen tables": [before], **run_all(copies, runs, args.jobs)}
    publish(copies, models, args.out)
    judge(args.out)
    draw(args.out)
    if whole:
        cores = len(os.sched_getaffinity(0))
        table = time_table(seconds, time.monotonic() - begun, cpu_seconds(), cores)
        write_csv(table, args.out / "run_time.csv")
        print(f"beyond: {table['wall_seconds'].iloc[0] / 60:.1f} minutes on {cores} cores")
    print(
        f"beyond: {args.out}: {', '.join(models)}; {len(runs)} runs; weights and tables are in {args.copies}"
    )
    if args.out == Path("results/beyond"):
        show_again()


if __name__ == "__main__":
    run_main(main)
