"""make repro, on a study with one item, at least, of everything. A file of its own: it runs beside the other long one."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from test_pipeline import ROOT, WHOLE

from stages.commands.quick import dvc, make_copy
from stages.study.items import summary_items
from stages.study.params import read_yaml


def test_make_repro_runs_everything_that_the_study_lists_and_claims_are_judged_on_it(tmp_path):
    copy = tmp_path / "study"
    make_copy(ROOT, copy, WHOLE, cache=Path("../cache"))
    (copy / ".venv").mkdir()
    (copy / ".venv/ready").touch()  # the environment is the one that runs the tests
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "repro"],
        cwd=copy,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    study = read_yaml(copy / "params.yaml")["study"]
    listed = {f"{model}-{seed}/{setup}.csv" for model, seed, setup in summary_items(study)}
    summaries = copy / "results/summary"
    assert {str(path.relative_to(summaries)) for path in summaries.glob("*/*")} == listed and len(
        listed
    ) == 13
    verdicts = pd.concat(pd.read_csv(path) for path in (copy / "results/verdicts").iterdir())
    assert set(verdicts["model"]) == {"tiny-gpt2", "tiny-gpt2-new"} and set(verdicts["seed"]) == {0, 1}
    assert "C14" in set(verdicts["claim"])
    assert dvc(copy, "status", capture_output=True).stdout.strip() == "Data and pipelines are up to date."
