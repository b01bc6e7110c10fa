"""make repro, on a study with one item, at least, of everything. A file of its own: it runs beside the other long one."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
from test_pipeline import ROOT, WHOLE

from stages.commands.quick import dvc, make_copy
from stages.study.items import summary_items
from stages.study.params import read_yaml

# Stands for a cluster's: writes down what it is asked for, and holds a base back until another one has been asked for too.
SRUN = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/asked"
case "$*" in *stages.pretrain*)
    touch "$here/begun.$$"; waited=0
    while [ "$(ls "$here" | grep -c begun)" -lt 2 ] && [ $waited -lt 900 ]; do sleep 0.1; waited=$((waited + 1)); done
    [ "$(ls "$here" | grep -c begun)" -ge 2 ] || exit 1;;
esac
while [ "$1" != python ]; do shift; done
exec "$@"
"""
LAUNCH = {
    "launch.train": "srun --ntasks=1 --gres=gpu:1 python",
    "launch.graft": "srun --ntasks=1 python",
}


def test_make_repro_runs_everything_that_the_study_lists_behind_any_prefix_and_claims_are_judged_on_it(
    tmp_path,
):
    """Two models train side by side, each by a start of its own, as a cluster needs it."""
    copy, cluster = tmp_path / "study", tmp_path / "cluster"
    make_copy(ROOT, copy, WHOLE | LAUNCH, cache=Path("../cache"))
    cluster.mkdir()
    (cluster / "srun").write_text(SRUN)
    (cluster / "srun").chmod(0o755)
    (copy / ".venv").mkdir()
    (copy / ".venv/ready").touch()  # the environment is the one that runs the tests
    path = f"{cluster}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "repro"],
        cwd=copy,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    asked = (cluster / "asked").read_text().splitlines()
    assert all(line.startswith("--ntasks=1 ") for line in asked)
    started = Counter(word for line in asked for word in line.split() if word.startswith("stages."))
    assert started == {"stages.pretrain": 2, "stages.finetune": 12, "stages.graft": 3}
    study = read_yaml(copy / "params.yaml")["study"]
    listed = {f"{model}-{seed}/{setup}.csv" for model, seed, setup in summary_items(study)}
    summaries = copy / "results/summary"
    assert {str(path.relative_to(summaries)) for path in summaries.glob("*/*")} == listed and len(
        listed
    ) == 21
    verdicts = pd.concat(pd.read_csv(path) for path in (copy / "results/verdicts").iterdir())
    assert set(verdicts["model"]) == {"tiny-gpt2", "tiny-gpt2-new"} and set(verdicts["seed"]) == {0, 1}
    assert "C14" in set(verdicts["claim"])
    assert dvc(copy, "status", capture_output=True).stdout.strip() == "Data and pipelines are up to date."
