"""Kill a smoke run with SIGKILL at random moments; what is left on the disk alone must lead to the same summaries.

python tests/pipeline/kills.py --kills 10 --seed 0 [--folder FOLDER]

An unkilled run gives the results and the times at which its stages start. Another run is killed, its whole process group, at
moments spread over that length: one in each of so many equal parts of it, drawn at random. After each kill only the files are
copied to another directory, the old one goes away, and the run goes on in the new one. In the end every file that the pipeline
makes must have the bytes of the unkilled run, and no stage that dvc.lock had as finished may have been started again.
No test of the suite: it takes minutes. A power cut, after which a disk may lack what was written last, is not played.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from smoke_studies import ROOT, SMOKE

from stages.commands.quick import environment_of, make_copy
from stages.commands.recover import LOCK, RUNNING, parsed, recover
from stages.study.params import read_yaml

STARTED = re.compile(r"Running stage '([^']+)'")
TICK = 0.01  # seconds between two looks at a run
GONE = 5.0  # seconds that a killed process has to be gone
LONGEST = 900.0  # seconds of one run


def start(copy: Path, log: Path) -> subprocess.Popen:
    """`dvc repro` in a session, and so in a process group, of its own."""
    with log.open("w") as file:
        return subprocess.Popen(
            ["dvc", "repro"],
            cwd=copy,
            env=environment_of(copy),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def started_in(log: Path) -> list[str]:
    return STARTED.findall(log.read_text(errors="replace"))


def finished_in(copy: Path) -> dict[str, list]:
    """Stage -> its outputs with their hashes, as dvc.lock has them; nothing of a dvc.lock that cannot be read."""
    read = parsed((copy / LOCK).read_text()) if (copy / LOCK).exists() else None
    stages = read.get("stages") if isinstance(read, dict) else None
    return {name: stage.get("outs") for name, stage in (stages or {}).items() if isinstance(stage, dict)}


def alive(session: int, copy: Path) -> list[int]:
    """The processes of a session, and those that work in a directory; the dead that nobody has asked about are none."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            inside = (entry / "cwd").readlink().is_relative_to(copy)
        except OSError:  # gone, or another user's
            continue
        if state != "Z" and (int(of) == session or inside):
            found.append(int(entry.name))
    return found


def run_whole(copy: Path, log: Path) -> list[tuple[str, float]]:
    """Run to the end; (stage, seconds since the start) of every start, and at last ("", seconds) of the end."""
    begin, times, process = time.monotonic(), [], start(copy, log)
    while process.poll() is None:
        names = started_in(log)
        times += [(name, time.monotonic() - begin) for name in names[len(times) :]]
        time.sleep(TICK)
    if process.returncode:
        sys.exit(f"kills: the run ended with {process.returncode}: {log.read_text()[-2000:]}")
    return [*times, ("", time.monotonic() - begin)]


def kill_at(copy: Path, log: Path, stage: str, after: float) -> int | None:
    """Start a run and kill its group `after` seconds into a stage, or into the run where that stage is finished already.

    Returns:
        The session that was killed; None where the run came to its end before.
    """
    process, begin = start(copy, log), time.monotonic()
    known = None if stage in finished_in(copy) or not stage else stage
    since = begin if known is None else None
    while since is None or time.monotonic() < since + after:
        if process.poll() is not None:
            return None
        if time.monotonic() > begin + LONGEST:
            os.killpg(process.pid, signal.SIGKILL)
            sys.exit(f"kills: {stage} was not started within {LONGEST:.0f} s: {log.read_text()[-2000:]}")
        if since is None and known in started_in(log):
            since = time.monotonic()
        time.sleep(TICK)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return process.pid


def moment(times: list[tuple[str, float]], at: float) -> tuple[str, float]:
    """(stage, seconds into it) at a time of the unkilled run; ("", at) before the first stage."""
    before = [(stage, begin) for stage, begin in times if begin <= at]
    return (before[-1][0], at - before[-1][1]) if before else ("", at)


def left_behind(copy: Path) -> str:
    """What a kill has left of DVC's own files."""
    told = []
    if (copy / RUNNING).exists():
        text = (copy / RUNNING).read_text()
        try:
            told.append(f"rwlock of {len(json.loads(text).get('write', {}))} outputs")
        except ValueError:
            told.append("half an rwlock")
    half = [path.name for path in copy.rglob("*.part")]
    return ", ".join(told + half) or "nothing"


def differences(copy: Path, whole: Path) -> list[str]:
    """Files of results and figures whose bytes differ, and stages whose outputs have another hash in dvc.lock."""
    made = [
        {
            path.relative_to(root): path.read_bytes()
            for part in ("results", "figures")
            for path in (root / part).rglob("*")
            if path.is_file()
        }
        for root in (copy, whole)
    ]
    wrong = [str(path) for path in {*made[0], *made[1]} if made[0].get(path) != made[1].get(path)]
    outs, wanted = finished_in(copy), finished_in(whole)
    return wrong + [name for name in {*outs, *wanted} if outs.get(name) != wanted.get(name)]


def kill_and_go_on(folder: Path, kills: int, seed: int) -> list[str]:
    """The whole experiment in a folder; the faults that were found."""
    rng, faults = random.Random(seed), []
    whole, log = folder / "whole/study", folder / "log"
    make_copy(ROOT, whole, SMOKE, cache=Path("../cache"))
    times = run_whole(whole, log)
    length, stages = times[-1][1], [stage for stage, _ in times[:-1]]
    print(f"unkilled: {len(stages)} stages in {length:.1f} s", flush=True)
    copy, starts, done = folder / "0/study", 0, 0
    make_copy(ROOT, copy, SMOKE, cache=Path("../cache"))
    for number in range(1, kills + 1):
        at = length * (number - 1 + rng.random()) / kills
        stage, after = moment(times, at)
        finished = {*finished_in(copy)}
        session = kill_at(copy, log, stage, after)
        here = started_in(log)
        starts, again = starts + len(here), sorted(finished & {*here})
        faults += [f"run {number} started {name} again" for name in again]
        if session is None:
            ending = log.read_text()[-1500:]
            print(f"run {number}: at its end before the kill, {after:.1f} s into {stage}", flush=True)
            if {*finished_in(copy)} != {*stages}:
                return [*faults, f"run {number} ended by itself: {ending}"]
            continue
        done, deadline = done + 1, time.monotonic() + GONE
        while (left := alive(session, copy)) and time.monotonic() < deadline:
            time.sleep(TICK)
        faults += [f"kill {number}: process {pid} is left" for pid in left]
        # The machine's view: only the files, elsewhere; what still pointed to the old place would fail.
        behind = left_behind(copy)
        other = folder / f"{number}/study"
        shutil.copytree(copy.parent, other.parent, symlinks=True)
        shutil.rmtree(copy.parent)
        copy = other
        mended = recover(copy)
        print(
            f"kill {number}: {at:.1f} s, {after:.1f} s into {stage or 'the start'}: {len(finished_in(copy))} finished, "
            f"{len(left)} processes left; left behind: {behind}; {'; '.join(mended) or 'nothing to mend'}",
            flush=True,
        )
    finished = {*finished_in(copy)}
    last = run_whole(copy, log)
    starts += len(last) - 1
    faults += [f"the last run started {name} again" for name, _ in last if name in finished]
    faults += [f"{name} differs from the unkilled run's" for name in differences(copy, whole)]
    summaries = list((copy / "results/summary").glob("*/*.csv"))
    items = read_yaml(copy / "params.yaml")["study"]["models"]
    print(
        f"{done} kills; the last run took {last[-1][1]:.1f} s; {starts} starts of {len(stages)} stages; "
        f"{len(summaries)} summaries of {len(items)} models compared; {len(faults)} faults"
    )
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty folder to work in, which is kept")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        faults = kill_and_go_on((args.folder or Path(made)).resolve(), args.kills, args.seed)
    sys.exit("\n".join(f"fault: {fault}" for fault in faults) or 0)


if __name__ == "__main__":
    main()
