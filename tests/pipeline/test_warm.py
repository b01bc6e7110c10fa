"""Claims about the starts that cost little (warm.py): what is started so does, prints and ends as what is started from scratch."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import warm
from closure import ROOT

TELLS = """import os, sys
print(os.getcwd(), os.environ["TOLD"], sys.argv[1:], __name__)
print("wrong", file=sys.stderr)
sys.exit({end})
"""


def ended(python: str | Path, folder: Path, *words: str) -> tuple[int, str, str]:
    """(exit status, output, errors) of `python -m` in a folder."""
    environment = os.environ | {"TOLD": "by the caller"}
    done = subprocess.run([python, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("end", "status"), [("0", 0), ("3", 3), ("'why'", 1), ("1 / 0", 1)])
def test_it_runs_the_callers_code_where_and_as_the_caller_would(warm_python, tmp_path, end, status):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "stages/told.py").write_text(TELLS.format(end=end))
    forked, cold = (
        ended(python, tmp_path, "stages.told", "a", "b c") for python in (warm_python, sys.executable)
    )
    assert forked[:2] == cold[:2] == (status, f"{tmp_path} by the caller ['a', 'b c'] __main__\n")
    assert forked[2].splitlines()[0] == "wrong" and forked[2].splitlines()[-1] == cold[2].splitlines()[-1]


def test_a_stage_says_what_it_says_from_scratch(warm_python):
    words = ("stages.check_params", "--params", "nonesuch.yaml", "--data", "data")
    assert ended(warm_python, ROOT, *words) == ended(sys.executable, ROOT, *words)


def test_what_is_no_stage_is_the_ordinary_python(warm_python, tmp_path):
    told = subprocess.run(
        [warm_python, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True
    )
    assert told.stdout.strip() == sys.executable


def test_a_process_that_cannot_serve_is_told_to_whoever_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(warm, "__file__", str(tmp_path / "nonesuch.py"))
    with tempfile.TemporaryDirectory() as folder, warm.warm_commands(Path(folder)) as commands:
        status, _, errors = ended(commands / "python", tmp_path, "stages.told")
    assert status == 1 and "gone without an exit status" in errors
