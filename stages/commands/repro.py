"""make repro: the whole study, several items at a time, and where its seconds went.

DVC runs one stage after the other. This asks DVC which items are stale and what each waits for, and hands them to several
`dvc repro --single-item` side by side, some items a start; what DVC then finds unchanged it does not run. A run that trains
everything leaves results/run_time.csv.

    python -m stages.commands.repro --jobs 2
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import networkx
import pandas as pd
from dvc.repo import Repo

from stages.commands.recover import LOCK, drop_gone
from stages.frame.timing import ASKED
from weightgraft.errors import UserError, run_main

LAST = "write_report"  # tells the times of all others
TRAINS = ("pretrain", "finetune")
# Items a start: each start of DVC costs seconds, but what is handed out cannot be shared any more, and a base takes minutes.
MOST, BASES_AT_ONCE = 4, 1
SHARE = 2  # of what could start, one in so many for each job: the last starts are of one item, so that all jobs end together
TIMES = Path(".ckpt/times.jsonl")
# What a stage's work is, in the table of run time.
KINDS = {
    "pretrain": "training",
    "finetune": "training",
    "graft": "scoring",
    "summarize": "resampling",
    "judge_claims": "resampling",
    "render_figures": "figures",
}


def stage_of(item: str) -> str:
    """The stage's module: finetune of finetune_parts@tiny-gpt2-0-half_a."""
    name = item.partition("@")[0]
    return next((kind for kind in KINDS if name == kind or name.startswith(f"{kind}_")), name)


def stale_items(folder: Path, only: Iterable[str] = ()) -> dict[str, set[str]]:
    """The items that may have to run, in the pipeline's order, each with those of them that it waits for: whatever has changed,
    and all that depends on it. only: stages; where there are some, just their items and what these need."""
    with Repo(str(folder)) as repo:
        changed = set(repo.status())
        graph = networkx.DiGraph()  # an edge leads to what is waited for
        for stage in repo.index.graph:
            graph.add_node(stage.addressing)
        graph.add_edges_from(
            (stage.addressing, before.addressing) for stage, before in repo.index.graph.edges
        )
    stale = changed.union(*(networkx.ancestors(graph, item) for item in changed & {*graph}))
    if wanted := {item for item in graph if stage_of(item) in {*only}}:
        stale &= wanted.union(*(networkx.descendants(graph, item) for item in wanted))
    ordered = reversed(list(networkx.topological_sort(graph)))
    return {item: stale & networkx.descendants(graph, item) for item in ordered if item in stale}


@dataclass
class Queue:
    """What is still to be run. waits: the items that are not yet handed out, each with all that it waits for."""

    waits: dict[str, set[str]]
    done: set[str] = field(default_factory=set)
    failed: bool = False

    def __post_init__(self) -> None:
        # How many wait for an item.
        self.waiting = Counter(itertools.chain.from_iterable(self.waits.values()))

    def take(self, jobs: int) -> list[str]:
        """Some items that can start now, all of one stage: those for which most others wait, and not all that another job could
        run."""
        ready = [item for item, before in self.waits.items() if before <= self.done]
        ready.sort(key=lambda item: -self.waiting[item])
        alike = [item for item in ready if stage_of(item) == stage_of(ready[0])]
        most = BASES_AT_ONCE if alike and stage_of(alike[0]) == "pretrain" else MOST
        some = alike[: min(most, -(-len(alike) // (SHARE * jobs)))]
        for item in some:
            del self.waits[item]
        return some


def run_items(waits: Mapping[str, set[str]], jobs: int, environment: Mapping[str, str]) -> None:
    """Run the items, `jobs` starts of DVC side by side.

    Raises:
        UserError: one of them failed; DVC has said why. What runs beside it is waited for, and nothing else is started.
    """
    queue, changed = Queue(dict(waits)), threading.Condition()

    def work() -> None:
        while True:
            with changed:
                while not (some := queue.take(jobs)) and queue.waits and not queue.failed:
                    changed.wait()
                if queue.failed or not some:
                    return
            print(f"repro: {', '.join(some)} ({len(queue.waits)} items wait)", flush=True)
            command = ["dvc", "--wait-for-lock", "repro", "--quiet", "--single-item", *some]
            code = subprocess.run(command, env=dict(environment)).returncode
            with changed:
                queue.done.update(some)
                queue.failed = queue.failed or code != 0
                changed.notify_all()

    workers = [threading.Thread(target=work) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if queue.failed:
        raise UserError("a stage failed, as is told above; what had finished is kept: mend it and run again")


def read_times(path: Path) -> list[dict]:
    """What the stages' processes told (stages/frame/timing.py)."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def processor() -> str:
    """The processor's name, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def run_time(times: Iterable[Mapping], wall: float, cpu: float, cores: int) -> pd.DataFrame:
    """Where the seconds of a run went: CPU seconds by kind of work. wall, cpu: seconds of the run, and of all its processes.

    Columns: kind, starts (processes of it), cpu_seconds, share (of cores x wall), cores, wall_seconds, processor. What no
    stage told is DVC's own; what no process used is idle.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    starts: Counter[str] = Counter()
    for told in times:
        kind = KINDS.get(told["stage"], "facts and checks")
        seconds[kind] += told["work"]
        seconds["importing libraries"] += told["imports"]
        starts[kind] += 1
    starts["importing libraries"] = starts.total()
    seconds["DVC itself"] = max(0.0, cpu - sum(seconds.values()))
    seconds["idle cores"] = max(0.0, cores * wall - sum(seconds.values()))
    rows = [
        {
            "kind": kind,
            "starts": starts[kind],
            "cpu_seconds": round(amount),
            "share": round(amount / (cores * wall), 3),
        }
        for kind, amount in sorted(seconds.items(), key=lambda one: -one[1])
    ]
    return pd.DataFrame(rows).assign(cores=cores, wall_seconds=round(wall), processor=processor())


def cpu_seconds() -> float:
    """Of this process and all that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2, help="items that run side by side")
    parser.add_argument("--only", nargs="+", default=[], help="stages: just these, and what they need")
    parser.add_argument("--out", type=Path, default=Path("results/run_time.csv"))
    args = parser.parse_args()
    start = time.monotonic()
    TIMES.parent.mkdir(exist_ok=True)
    TIMES.unlink(missing_ok=True)
    # Facts first: which of what depends on them is stale is known when they are made.
    first = subprocess.run(
        ["dvc", "--wait-for-lock", "repro", "generate_facts", "read_facts"],
        env=os.environ | {ASKED: str(TIMES.absolute())},
    )
    if first.returncode:
        sys.exit(first.returncode)
    waits = stale_items(Path.cwd(), args.only)
    trained = {item for item in waits if stage_of(item) in TRAINS}
    run_items(
        {item: before for item, before in waits.items() if item != LAST},
        args.jobs,
        os.environ | {ASKED: str(TIMES.absolute())},
    )
    times = read_times(TIMES)
    if trained and sum(told["stage"] in TRAINS for told in times) == len(trained) == len(all_training()):
        cores = len(os.sched_getaffinity(0))
        table = run_time(times, time.monotonic() - start, cpu_seconds(), cores)
        table.to_csv(args.out, index=False, lineterminator="\n")
        print(f"repro: {args.out}: {table['wall_seconds'].iloc[0] / 60:.1f} minutes on {cores} cores")
    if not args.only:
        code = subprocess.run(["dvc", "--wait-for-lock", "repro"]).returncode
        with Repo() as repo:
            drop_gone(LOCK, {stage.addressing for stage in repo.index.stages})
        sys.exit(code)


def all_training() -> list[str]:
    """All items that train."""
    with Repo() as repo:
        return [stage.addressing for stage in repo.index.stages if stage_of(stage.addressing) in TRAINS]


if __name__ == "__main__":
    run_main(main)
