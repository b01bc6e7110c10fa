"""Claims about dvc.yaml and dvc.lock, read without running anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT, import_closure

from stages.params import read_yaml

PIPELINE = read_yaml(ROOT / "dvc.yaml")["stages"]
COMMITTED = ("results/", "figures/")


def declared_code(stage: dict) -> set[Path]:
    return {ROOT / dep for dep in stage["deps"] if dep.endswith(".py")}


@pytest.mark.parametrize("name", PIPELINE)
def test_declared_code_is_the_import_closure(name):
    closure = import_closure(ROOT / "stages" / f"{name}.py")
    declared = declared_code(PIPELINE[name])
    assert {str(path.relative_to(ROOT)) for path in declared} == {
        str(path.relative_to(ROOT)) for path in closure
    }


def test_every_stage_comes_after_the_check_of_params():
    for name, stage in PIPELINE.items():
        assert name == "check_params" or "runs/params.ok" in stage["deps"]


def test_every_stage_runs_the_module_of_its_name():
    for name, stage in PIPELINE.items():
        assert stage["cmd"].split()[:3] == ["python", "-m", f"stages.{name}"]


def test_committed_results_were_made_by_the_committed_code():
    status = subprocess.run(
        [Path(sys.executable).with_name("dvc"), "status", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    stale = []
    for stage, changes in json.loads(status.stdout).items():
        for change in changes:
            if isinstance(change, str):
                stale.append(f"{stage}: {change}")
                continue
            for kind, entries in change.items():
                for path, state in entries.items():
                    # Weights and tables are in no clone; results and figures are, and must be the recorded ones.
                    in_git = kind != "changed outs" or path.startswith(COMMITTED)
                    gone = state == "deleted" and (not in_git or path.startswith("runs/"))
                    if not gone:
                        stale.append(f"{stage}: {kind}: {path} {state}")
    assert not stale, "run `dvc repro` and commit dvc.lock, results and figures:\n" + "\n".join(stale)
