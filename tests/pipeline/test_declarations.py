"""Claims about dvc.yaml and dvc.lock, read without running anything."""

import hashlib
import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from closure import ROOT, import_closure
from dvc.utils.serialize import load_yaml, modify_yaml

from stages.check_params import read_libraries
from stages.study.items import finetune_items, summary_items
from stages.study.params import read_yaml
from stages.study.schema import Params
from stages.study.settings import settings_of, write_settings

PIPELINE = read_yaml(ROOT / "dvc.yaml")["stages"]
PARAMS = read_yaml(ROOT / "params.yaml")


def declared_code(stage: dict) -> set[str]:
    """What of ours a stage depends on: single files, and packages."""
    return {dep for dep in stage["deps"] if dep.partition("/")[0] in ("stages", "weightgraft")}


def covers(dep: str, file: str) -> bool:
    return file == dep or file.startswith(f"{dep}/")


def listed(key: str) -> list:
    """What a matrix runs over: ${study.models} and so on."""
    node: Any = PARAMS
    for part in key[2:-1].split("."):
        node = node[part]
    return node


def module_of(stage: dict) -> Path:
    """The file that a stage's command runs: python -m stages.NAME ..., or another launcher from params."""
    python, flag, module = stage["cmd"].split()[:3]
    assert python in ("python", "${launch.train}", "${launch.graft}") and flag == "-m"
    return ROOT / (module.replace(".", "/") + ".py")


def test_every_stage_runs_the_module_that_its_name_begins_with():
    for name, stage in PIPELINE.items():
        assert name == module_of(stage).stem or name.startswith(module_of(stage).stem + "_")


@pytest.mark.parametrize("name", PIPELINE)
def test_declared_code_is_the_import_closure(name):
    """Every file that a stage needs is declared or in a declared package, and nothing is declared of which it needs nothing."""
    closure = {str(path.relative_to(ROOT)) for path in import_closure(module_of(PIPELINE[name]))}
    declared = declared_code(PIPELINE[name])
    assert not {file for file in closure if not any(covers(dep, file) for dep in declared)}
    assert not {dep for dep in declared if not any(covers(dep, file) for file in closure)}


def test_where_it_saves_training_dependencies_are_fine():
    """No engine, no analysis, no figure and nothing that checks params behind a model; no figure behind a score."""
    for name, stage in PIPELINE.items():
        if name.startswith(("pretrain", "finetune")):
            module = f"stages/{module_of(stage).stem}.py"
            told = {"weightgraft/errors.py", "weightgraft/progress.py"}  # what a user reads while it runs
            assert declared_code(stage) == {module, "stages/frame", "stages/modeling", *told}
        if name.startswith("graft"):
            folders = {str(Path(dep)) for dep in declared_code(stage)}
            assert not folders & {
                "stages/analysis",
                "stages/plotting",
                "stages/reporting",
                "stages/study",
                "weightgraft",
            }


def test_the_file_of_addresses_computes_nothing():
    """So that no stage need depend on it: it imports nothing of ours before it is asked for a name."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, weightgraft; print([n for n in sys.modules if n.startswith('weightgraft')])"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "['weightgraft']"


def test_a_stage_reads_its_settings_and_never_params_itself():
    """So that it cannot read what it does not depend on. The report shows the file of params whole, and depends on it."""
    for name, stage in PIPELINE.items():
        if name not in ("check_params", "write_report"):
            (settings,) = re.findall(r"--settings (\S+)", stage["cmd"])
            assert settings in stage["deps"] and settings.startswith("runs/settings/")
            for file in import_closure(module_of(stage)) - {ROOT / "stages/study/params.py"}:
                assert "load_section" not in file.read_text(), file


def test_the_settings_in_the_lock_are_those_of_the_committed_params(tmp_path):
    """Of every item that the lock has, and no other item is listed."""
    pinned = read_libraries(ROOT / "pyproject.toml")
    write_settings(tmp_path, settings_of(Params.model_validate(PARAMS), *pinned))
    made = {
        f"runs/settings/{path.relative_to(tmp_path)}": hashlib.md5(path.read_bytes()).hexdigest()
        for path in tmp_path.rglob("*.json")
    }
    lock = read_yaml(ROOT / "dvc.lock")["stages"]
    read = {
        dep["path"]: dep["md5"]
        for stage in lock.values()
        for dep in stage["deps"]
        if dep["path"].startswith("runs/settings/")
    }
    assert read == made


def test_the_items_are_those_that_the_study_module_lists():
    def items(kind: str) -> list[tuple]:
        return [
            item
            for name, stage in PIPELINE.items()
            if name.startswith(kind)
            for item in product(*(listed(key) for key in stage["matrix"].values()))
        ]

    runs = sorted({(model, seed) for model, seed, _ in summary_items(PARAMS["study"])})
    assert sorted(items("graft")) == sorted(items("summarize")) == runs
    trained = {(model, recipe) for model, _, recipe in items("finetune")}
    assert trained == {*finetune_items(PARAMS["study"])}


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


def test_dvc_can_read_the_params_it_has_changed_itself(tmp_path):
    """`dvc exp run -S` writes params.yaml anew, without the quotes around strings, and reads it with another parser."""
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with modify_yaml(str(path)) as params:
        params["study"]["models"] = ["gpt2-xl"]
    changed = load_yaml(str(path))
    assert changed == PARAMS | {"study": PARAMS["study"] | {"models": ["gpt2-xl"]}}


@pytest.mark.parametrize("path", sorted((ROOT / "results/real").glob("*.lock")), ids=lambda path: path.stem)
def test_the_results_of_really_pretrained_models_were_made_by_the_committed_code(path):
    """Else `make real`. Their lock is held against the study's own, which is held against the files."""
    here, there = (
        {dep["path"]: dep["md5"] for stage in read_yaml(lock)["stages"].values() for dep in stage["deps"]}
        for lock in (ROOT / "dvc.lock", path)
    )
    code = {name for name in there if name.startswith(("stages/", "weightgraft/", "data/"))}
    assert len(code) > 20
    assert {name for name in code if there[name] != here.get(name)} == set()
