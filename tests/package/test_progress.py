"""Claims about progress: a bar where somebody looks, a few plain lines where somebody reads later."""

import ast
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from weightgraft import progress
from weightgraft.progress import bar

ROOT = Path(__file__).parents[2]
STEPS = """
from weightgraft import progress
progress.BETWEEN_LINES = 0
with progress.bar("train", 1000, "updates") as shown:
    for _ in range(1000):
        shown.update()
"""


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def started(**options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    return subprocess.Popen([sys.executable, "-c", STEPS], env=environment, **options)


def test_a_pipe_gets_a_line_every_tenth():
    _, told = started(stderr=subprocess.PIPE, text=True).communicate()
    lines = told.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"train: {tenth}0%" for tenth in range(1, 11)]
    assert "\r" not in told
    assert re.fullmatch(r"train: 10%, 100 of 1,000 updates, \d\d:\d\d elapsed, \d\d:\d\d left", lines[0])


def test_a_terminal_gets_a_bar():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = started(stderr=theirs)
    process.wait()
    told = os.read(ours, 10_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "\rtrain: " in told and "%|" in told and "1000/1000" in told


def test_a_line_says_how_long_it_took_and_what_is_left_of_what_was_not_done_before(clock, capsys):
    with bar("train", 100, "updates", begun=40) as shown:
        for step in range(60):
            clock.now += 2
            shown.set_postfix_str(f"loss {step}")
            shown.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: 50%, 50 of 100 updates, 00:20 elapsed, 01:40 left, loss 9"
    assert lines[-1] == "train: 100%, 100 of 100 updates, 02:00 elapsed, loss 59" and len(lines) == 6


def test_what_is_done_at_once_is_one_line_and_what_takes_less_than_the_patience_none(clock, capsys):
    with bar("summarize", 20, "setups") as shown:
        for _ in range(20):
            shown.update()
    assert capsys.readouterr().err == "summarize: 100%, 20 of 20 setups, 00:00 elapsed\n"
    for seconds, lines in ((1.9, 0), (2.1, 1)):
        with bar("map", 2, "cells", patience=2.0) as shown:
            clock.now += seconds
            shown.update(2)
        assert len(capsys.readouterr().err.splitlines()) == lines


def test_a_total_that_is_not_known_gets_a_line_each_time_the_number_doubles(clock, capsys):
    with bar("films", None, "bytes", scaled=True) as shown:
        for _ in range(1000):
            clock.now += 1
            shown.update(1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 12 and lines[-1] == "films: 1.00G bytes, 16:40 elapsed"


def test_what_is_begun_anew_tells_no_tenth_twice(clock, capsys):
    """A pass that ran out of memory takes its chunk back."""
    with bar("graft", 100, "scores") as shown:
        for place in (10, 20, 30, 10, 20, 30, 40):
            clock.now += 5
            shown.update(place - shown.n)
    told = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert told == ["graft: 10%", "graft: 20%", "graft: 30%", "graft: 40%"]


def test_a_bar_that_is_not_shown_is_silent(clock, capsys):
    with bar("graft", 2, "scores", shown=False) as shown:
        clock.now += 60
        shown.update(2)
    assert capsys.readouterr().err == ""


def test_every_bar_is_one_of_these():
    """tqdm itself is imported here alone, and where a line has to go above a bar."""
    importing = {
        str(path.relative_to(ROOT))
        for package in ("weightgraft", "stages")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "tqdm"
    }
    assert importing == {"weightgraft/progress.py", "stages/evaluation/budgets.py"}
