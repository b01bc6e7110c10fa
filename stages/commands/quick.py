"""A run of its own in a throw-away copy of the repository: `make quick`, `make own`, and the tests of the whole pipeline.

The copy has its own results, figures and lock; it shares the cache, so nothing that was trained before is trained again.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.commands.recover import recover
from stages.facts.own import read_own
from stages.modeling.packages import DOWNLOADS
from stages.study.faults import choices
from stages.study.params import change, load_section
from weightgraft.errors import UserError, run_main

NOT_COPIED = ("results/", "figures/", "dvc.lock", ".dvc/")
KEPT = {"results", "figures", "dvc.lock", ".dvc", "runs", ".ckpt"}  # in the copy: what its own runs made

# Of the study only what study.models and study.recipes list: one seed, no setups of several models, no new-form condition.
NOTHING_MORE = {
    "study.seeds": [0],
    "study.parts": [],
    "study.setups": [],
    "study.own": [],
    "study.repeats.models": [],
    "study.new_form.models": [],
}


def tracked(folder: Path) -> list[str]:
    """What git tracks or would track. Raises UserError where it cannot tell."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError("git is not there, which lists what is copied: install it") from error
    if done.returncode:
        why = done.stderr.strip().splitlines()[:1]
        raise UserError(f"{folder}: git cannot list what is copied ({' '.join(why)}); a clone is needed")
    return [name for name in done.stdout.split("\0") if name]


def copy_repository(source: Path, copy: Path) -> None:
    """Copy what git tracks or would track, without what the pipeline makes; what an older copy had goes away.

    Raises:
        UserError: git cannot tell, or the folder is not one of such a copy.
    """
    listed = tracked(source)
    if source.resolve().is_relative_to(copy.resolve()):
        raise UserError(f"{copy}: the copy would take the place of the repository; give another folder")
    # Of a copy that was begun and killed there is at least nothing that the repository has not.
    there = {old.name for old in copy.iterdir()} if copy.is_dir() else set()
    others = there - KEPT - {Path(name).parts[0] for name in listed}
    if others and not there & {"dvc.yaml", ".dvc"}:
        raise UserError(
            f"{copy}: holds {min(others)}, which no run here has made, and would be emptied; give a new folder"
        )
    copy.mkdir(parents=True, exist_ok=True)
    for old in copy.iterdir():
        if old.name not in KEPT:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name in listed:
        if not name.startswith(NOT_COPIED) and (source / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, copy / name)


def change_params(path: Path, changes: Mapping[str, Any]) -> None:
    """Set values in params.yaml by dotted key, keeping its comments."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1000  # what is not changed is written as it was
    params = yaml.load(path.read_text(encoding="utf-8"))
    change(params, changes)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


def environment_of(copy: Path) -> dict[str, str]:
    """The environment of a run with the copy's own code, before what is on the path already."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    code = os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": code, "PATH": path}


def dvc(copy: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess:
    """Run DVC in the copy, with the copy's own code. Before a run, what a killed one left half-written goes away."""
    if arguments[0] == "repro":
        recover(copy)
    return subprocess.run(["dvc", *arguments], cwd=copy, env=environment_of(copy), text=True, **options)


def repro(copy: Path, *only: str, jobs: int = 2) -> None:
    """Run the copy's study, `jobs` items side by side (repro.py); only: stages, just these and what they need. Ends the process
    if it fails."""
    recover(copy)
    command = [sys.executable, "-m", "stages.commands.repro", "--jobs", str(jobs)]
    command += ["--only", *only] if only else []
    done = subprocess.run(command, cwd=copy, env=environment_of(copy))
    if done.returncode:
        sys.exit(done.returncode)


def make_copy(source: Path, copy: Path, changes: Mapping[str, Any], cache: Path) -> None:
    """A copy of the repository with changed params and a DVC project of its own."""
    copy_repository(source, copy)
    change_params(copy / "params.yaml", changes)
    # Of `make families`, `make real`, `make beyond`, `make runs` and `make repro`: empty in a run of its own.
    for name in ("results/families", "results/real", "results/beyond", "results/runs"):
        (copy / name).mkdir(parents=True, exist_ok=True)
    (copy / "results/run_time.csv").touch()
    if not (copy / ".dvc").exists():
        dvc(copy, "init", "--no-scm", "--quiet", check=True)
    shutil.copyfile(source / ".dvc/config", copy / ".dvc/config")
    dvc(copy, "config", "core.no_scm", "true", check=True)
    dvc(copy, "config", "cache.dir", str(cache), check=True)
    share_downloads(source / DOWNLOADS, copy / DOWNLOADS)


def share_downloads(source: Path, copy: Path) -> None:
    """What was downloaded and converted here serves the copy, and the other way round."""
    source.mkdir(parents=True, exist_ok=True)
    copy.parent.mkdir(parents=True, exist_ok=True)
    if copy.is_symlink():  # it may lead nowhere, once the project has been moved
        copy.unlink()
    if not copy.exists():
        copy.symlink_to(source)


def show_again() -> None:
    """Draw the study's own figures and report again, with what a run in a copy has put beside its results. Ends the process if that
    fails."""
    for stages in (("check_params",), ("render_figures", "write_report")):  # in this order, alone
        command = ["dvc", "--wait-for-lock", "repro", "--single-item", *stages]
        if code := subprocess.run(command, env=environment_of(Path.cwd())).returncode:
            sys.exit(code)


def own_changes(model: str, folder: Path) -> dict[str, Any]:
    """What a run on one model and facts of one's own alone has in params.yaml.

    Raises:
        UserError: the facts' first fault, or there is no such model.
    """
    changes = NOTHING_MORE | {
        "study.models": [model],
        "study.recipes": [],
        "study.own": ["own"],
        "read_facts.folder": str(read_own(folder).folder.resolve()),
    }
    models = load_section("models")
    if model not in models:
        raise UserError(f"--model is {model!r}; {choices(model, models)}")
    # Of a model that has read another world, it is asked what it knows of this one, fact by fact: as few as there may be.
    few = {"generate_facts.base_facts": 3, "generate_facts.facts": 3}
    return changes | (few if models[model].get("source") else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny-gpt2")
    parser.add_argument("--recipe", default="fmra")
    parser.add_argument(
        "--own", type=Path, help="folder with facts of your own: the recipe `own` on these (make own)"
    )
    parser.add_argument("--copy", type=Path, default=Path(".quick"))
    args = parser.parse_args()
    source, copy = Path.cwd(), args.copy.resolve()
    changes = NOTHING_MORE | {"study.models": [args.model], "study.recipes": [args.recipe]}
    if args.own:
        changes = own_changes(args.model, args.own)
    make_copy(source, copy, changes, cache=source / ".dvc/cache")
    repro(copy)
    facts = f"the facts of {args.own}" if args.own else args.recipe
    print(f"quick: {args.model} on {facts}: the figures are in {args.copy}/figures")


if __name__ == "__main__":
    run_main(main)
