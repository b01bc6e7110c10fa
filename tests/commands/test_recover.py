"""Claims about what a killed DVC leaves half-written: the next run goes on, and starts no stage again that had finished."""

import fcntl
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT

from stages.commands.quick import environment_of
from stages.commands.recover import HELD_FOR_LOCK, LOCK, RUNNING, drop_gone, recover
from stages.study.params import read_yaml

COMMITTED = (ROOT / LOCK).read_text()
STAGES = read_yaml(ROOT / LOCK)["stages"]
# Two stages, one after the other; each tells that it was started.
TWO = """stages:
  first: {cmd: echo 1 > first.txt && echo first >> told, deps: [start], outs: [first.txt]}
  second: {cmd: echo 2 > second.txt && echo second >> told, deps: [first.txt], outs: [second.txt]}
"""


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """DVC as a person starts it: nothing is put right before."""
    command, environment = ["dvc", *arguments], environment_of(ROOT)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def project(tmp_path, warm_python, monkeypatch) -> Path:
    """A finished pipeline of two stages."""
    monkeypatch.setattr(sys, "executable", str(warm_python))
    for arguments in (("init", "--no-scm", "-q"), ("config", "core.analytics", "false")):
        assert dvc(tmp_path, *arguments).returncode == 0
    (tmp_path / "dvc.yaml").write_text(TWO)
    (tmp_path / "start").write_text("0")
    assert dvc(tmp_path, "repro").returncode == 0
    return tmp_path


def test_a_half_written_dvc_lock_blocks_dvc_and_after_recovery_no_finished_stage_is_started(project):
    text = (project / LOCK).read_text()
    for end in (text.index("hash", text.index("second:")) + 2, text.index("hash") + 2, 10):  # half a key
        (project / LOCK).write_text(text[:end])
        assert dvc(project, "repro").returncode != 0
        assert len(recover(project)) == 1 and recover(project) == []
        done = dvc(project, "repro")
        assert done.returncode == 0, done.stderr
        assert (project / LOCK).read_text() == text
    assert (project / "told").read_text() == "first\nsecond\n"


def test_a_half_written_list_of_running_stages_blocks_dvc_until_it_is_removed(project):
    for half in ("", '{"write": {"first.txt": {"pid"'):
        (project / RUNNING).write_text(half)
        (project / "start").write_text(f"1{half}")
        assert "corrupted" in dvc(project, "repro").stderr
        assert len(recover(project)) == 1
        assert dvc(project, "repro").returncode == 0


def test_a_list_of_running_stages_whose_processes_are_dead_blocks_nothing(project):
    dead = {"pid": 2**22 + 1, "cmd": "dvc repro"}  # above the kernel's largest process id
    (project / RUNNING).write_text(json.dumps({"write": {str(project / "first.txt"): dead}, "read": {}}))
    (project / "start").write_text("1")
    assert recover(project) == [] and dvc(project, "repro").returncode == 0


def test_what_a_living_dvc_is_writing_is_left_alone(project):
    (project / LOCK).write_text("half")
    with (project / HELD_FOR_LOCK).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert recover(project) == [] and (project / LOCK).read_text() == "half"
    assert len(recover(project)) == 1


def test_of_a_lock_cut_anywhere_the_whole_stages_are_kept_as_they_were(tmp_path):
    rng, path = random.Random(0), tmp_path / LOCK
    names, cut = list(STAGES), 0
    for _ in range(5):
        end = rng.randrange(len(COMMITTED))
        path.write_text(COMMITTED[:end])
        cut += bool(recover(tmp_path))
        kept = read_yaml(path)["stages"] if path.exists() else {}
        whole = [name for name in names if f"\n  {name}:\n" in COMMITTED[:end]][:-1]
        assert list(kept)[: len(whole)] == whole and len(kept) <= len(whole) + 1
        assert all(kept[name] == STAGES[name] for name in whole)
    assert cut >= 3  # a cut between two lines of a list may leave a file that can be read


def test_a_lock_that_is_whole_is_not_touched(tmp_path):
    (tmp_path / LOCK).write_text(COMMITTED)
    assert recover(tmp_path) == [] and (tmp_path / LOCK).read_text() == COMMITTED


def test_stages_that_are_gone_leave_the_lock_and_the_others_stay_as_they_were(tmp_path):
    lock = tmp_path / "dvc.lock"
    lock.write_text(COMMITTED)
    declared = {name for number, name in enumerate(STAGES) if number % 3}
    assert drop_gone(lock, declared) == len(STAGES) - len(declared)
    left = read_yaml(lock)
    assert left["stages"] == {name: STAGES[name] for name in STAGES if name in declared}
    assert left["schema"] == read_yaml(ROOT / LOCK)["schema"]
    text = lock.read_text()
    assert drop_gone(lock, declared) == 0 and lock.read_text() == text
