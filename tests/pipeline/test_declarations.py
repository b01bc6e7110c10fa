"""Claims about dvc.yaml and dvc.lock, read without running anything."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT, import_closure

from stages.params import read_yaml

PIPELINE = read_yaml(ROOT / "dvc.yaml")["stages"]


def declared_code(stage: dict) -> set[Path]:
    return {ROOT / dep for dep in stage["deps"] if dep.endswith(".py")}


@pytest.mark.parametrize("name", PIPELINE)
def test_declared_code_is_the_import_closure(name):
    closure = import_closure(ROOT / "stages" / f"{name}.py")
    declared = declared_code(PIPELINE[name])
    assert {str(path.relative_to(ROOT)) for path in declared} == {
        str(path.relative_to(ROOT)) for path in closure
    }


def keys_read(file: Path) -> set[str]:
    """The sections that a stage loads, written as in dvc.yaml: {args.model} is ${item.model} there."""
    calls = [
        node.args[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_section"
    ]
    return {ast.unparse(key)[1:].strip("'\"").replace("{args.", "${item.") if isinstance(key, ast.JoinedStr)
            else ast.literal_eval(key) for key in calls}  # fmt: skip


@pytest.mark.parametrize("name", PIPELINE)
def test_declared_params_are_the_sections_that_the_stage_reads(name):
    declared = {key for key in PIPELINE[name].get("params", []) if isinstance(key, str)}
    assert declared == keys_read(ROOT / "stages" / f"{name}.py")


@pytest.mark.parametrize("name", PIPELINE)
def test_a_stage_depends_on_every_path_that_its_command_names(name):
    """Inputs are dependencies, outputs are declared; what is named nowhere else is neither."""
    stage = PIPELINE[name]
    outputs = [
        next(iter(out)) if isinstance(out, dict) else out
        for kind in ("outs", "metrics", "plots")
        for out in stage.get(kind, [])
    ]
    declared = [dep for dep in stage["deps"] if not dep.endswith(".py")] + outputs
    for path in re.findall(r"\s((?:runs|results|figures|data|params)\S*)", stage["cmd"]):
        assert any(path.startswith(known) or known.startswith(path + "/") for known in declared), path


def test_every_stage_comes_after_the_check_of_params():
    for name, stage in PIPELINE.items():
        assert name == "check_params" or "runs/params.ok" in stage["deps"]


def test_every_stage_runs_the_module_of_its_name():
    for name, stage in PIPELINE.items():
        assert stage["cmd"].split()[:3] == ["python", "-m", f"stages.{name}"]


def test_what_a_stage_read_is_what_the_stage_before_it_wrote():
    lock = read_yaml(ROOT / "dvc.lock")["stages"]
    written = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    read = [
        (dep["path"], dep["md5"])
        for stage in lock.values()
        for dep in stage["deps"]
        if dep["path"] in written
    ]
    assert len(read) > len(lock)
    assert all(written[path] == md5 for path, md5 in read)


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
                # Weights and tables are in no clone; results and figures are, and must be the recorded ones.
                stale += [
                    f"{stage}: {kind}: {path} {state}"
                    for path, state in entries.items()
                    if not (path.startswith("runs/") and state in ("deleted", "not in cache"))
                ]
    assert not stale, "run `dvc repro` and commit dvc.lock, results and figures:\n" + "\n".join(stale)
