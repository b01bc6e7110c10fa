"""Claims about dvc.yaml and dvc.lock, read without running anything."""

import ast
import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from closure import ROOT, import_closure

from stages.check_params import OF_RECIPES, OF_SETUPS, SETUPS_NEED_PARTS, SETUPS_NEED_RECIPES
from stages.params import read_yaml
from stages.study import summary_items

PIPELINE = read_yaml(ROOT / "dvc.yaml")["stages"]
PARAMS = read_yaml(ROOT / "params.yaml")


def declared_code(stage: dict) -> set[Path]:
    return {ROOT / dep for dep in stage["deps"] if dep.endswith(".py")}


def listed(key: str) -> list:
    """What a matrix runs over: ${study.models} and so on."""
    node: Any = PARAMS
    for part in key[2:-1].split("."):
        node = node[part]
    return node


def module_of(stage: dict) -> Path:
    """The file that a stage's command runs: python -m stages.NAME ..."""
    python, flag, module = stage["cmd"].split()[:3]
    assert (python, flag) == ("python", "-m")
    return ROOT / (module.replace(".", "/") + ".py")


def test_every_stage_runs_the_module_that_its_name_begins_with():
    for name, stage in PIPELINE.items():
        assert name == module_of(stage).stem or name.startswith(module_of(stage).stem + "_")


@pytest.mark.parametrize("name", PIPELINE)
def test_declared_code_is_the_import_closure(name):
    closure = import_closure(module_of(PIPELINE[name]))
    declared = declared_code(PIPELINE[name])
    assert {str(path.relative_to(ROOT)) for path in declared} == {
        str(path.relative_to(ROOT)) for path in closure
    }


def keys_read(file: Path) -> set[str]:
    """The sections that a stage loads; what it fills in is a *."""
    calls = [
        node.args[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_section"
    ]
    return {
        "".join(part.value if isinstance(part, ast.Constant) else "*" for part in key.values)
        if isinstance(key, ast.JoinedStr)
        else ast.literal_eval(key)
        for key in calls
    }


@pytest.mark.parametrize("name", PIPELINE)
def test_declared_params_are_the_sections_that_the_stage_reads(name):
    keys = [key for key in PIPELINE[name].get("params", []) if isinstance(key, str)]
    filled_in = {re.sub(r"\$\{item\.\w+\}", "*", key) for key in keys}
    declared = {re.sub(r"^experiments\.\w+$", "experiments.*", key) for key in filled_in}
    assert declared == keys_read(module_of(PIPELINE[name]))


@pytest.mark.parametrize("name", [name for name in PIPELINE if name.startswith("graft")])
def test_a_graft_stage_declares_the_experiments_of_its_setups(name):
    *_, over = PIPELINE[name]["matrix"].values()
    setups = listed(over)
    used = {
        f"experiments.{experiment}"
        for setup in setups
        for experiment in PARAMS["setups"][setup]["experiments"]
    }
    declared = {
        key for key in PIPELINE[name]["params"] if isinstance(key, str) and key.startswith("experiments.")
    }
    assert used <= declared and setups
    checked = OF_SETUPS if "setup" in PIPELINE[name]["matrix"] else OF_RECIPES
    assert declared == {f"experiments.{experiment}" for experiment in checked}
    if name in ("graft", "graft_setups"):
        assert used == declared


def test_a_graft_stage_hands_over_the_models_that_check_params_counts_on():
    given = re.findall(r"(\S+)=runs", PIPELINE["graft_setups"]["cmd"])
    assert given == ["base", "early", *SETUPS_NEED_RECIPES, *SETUPS_NEED_PARTS]
    assert re.findall(r"(\S+)=runs", PIPELINE["graft"]["cmd"]) == ["base", "${item.recipe}"]


def test_the_summaries_are_those_that_the_study_module_lists():
    items = [
        (model, seed, setup)
        for name, stage in PIPELINE.items()
        if name.startswith("summarize")
        for model, seed, setup in product(*(listed(key) for key in stage["matrix"].values()))
    ]
    assert sorted(items) == sorted(summary_items(PARAMS["study"])) and len(set(items)) == len(items)


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
