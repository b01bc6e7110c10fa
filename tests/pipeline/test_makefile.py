"""Claims about the Makefile's list of targets."""

import os
import re
import shutil
import subprocess

from closure import ROOT


def test_make_alone_lists_every_target_in_one_line_and_does_nothing(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    # Not as a part of the make that runs the tests, which would say that it changes folders.
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key != "MFLAGS"}
    told = subprocess.run(["make"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    lines = told.stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(targets)
    assert len({re.match(r"\S+ +", line).end() for line in lines}) == 1, "the columns are aligned"
    assert all(len(line) <= 100 for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"] and not told.stderr
