"""make unchanged SINCE=COMMIT: does the code of today make, to the byte, the weights and tables that it made at COMMIT?

Most edits of the engine change no number: a new refusal, a clearer message. The study's weights are in no clone, and to make its
results again for each such edit takes hours. Here a small study of every model (few facts, one epoch, all setups and schemes) is
made at both commits, in folders of their own. Where all that its stages wrote has the same bytes, the locks are told the hashes
of today's code, which is what `dvc commit` is for. Where anything differs nothing is written: the study must run again.
"""

import argparse
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.utils.serialize import dump_yaml

from stages.commands.quick import dvc, make_copy, repro
from stages.commands.recover import drop_gone
from stages.modeling.packages import DOWNLOADS
from stages.study.params import load_section, read_yaml
from weightgraft.errors import UserError, run_main

COPIES = Path(".unchanged")
STUDY, REAL = Path("dvc.lock"), Path("results/real")
LAST = ("summarize", "judge_claims")  # and so all that they need
CHECK, SHOW = "check_params", ("render_figures", "write_report")  # take seconds: make figures
RESAMPLES = {"summarize.resamples": 200, "judge_claims.resamples": 200}
FEW = {"generate_facts.base_facts": 12, "generate_facts.facts": 6, "pretrain.early_epoch": 1} | RESAMPLES
FEW_REAL = {"generate_facts.base_facts": 4, "generate_facts.facts": 4} | RESAMPLES


def studies() -> dict[str, dict[str, Any]]:
    """Name of a small study -> its changes in params.yaml: the tiny half in one, and each really pretrained model."""
    study = load_section("study")
    tiny = {*study["models"], *study["repeats"]["models"], *study["new_form"]["models"]}
    small = FEW | {
        f"models.{model}.{stage}.{key}": value
        for model in sorted(tiny)
        for stage, epochs in (("pretrain", 2), ("finetune", 1))
        for key, value in (("warmup_steps", 1), ("num_train_epochs", epochs))
    }
    real = {
        model: changes | FEW_REAL | {"study.models": [model], f"models.{model}.finetune.num_train_epochs": 1}
        for model, changes in load_section("real").items()
    }
    return {"tiny": small} | real


def items(lock: Path) -> dict[str, dict[str, Any]]:
    """Item -> what the lock says of it, of all that cannot be run again in seconds."""
    stages = read_yaml(lock)["stages"]
    return {name: stage for name, stage in stages.items() if name not in (CHECK, *SHOW)}


def forget_gone(copy: Path) -> None:
    """Take out of a kept copy's lock what its study lists no more: it was made with other code, at another time."""
    with Repo(str(copy)) as repo:
        drop_gone(copy / "dvc.lock", {stage.addressing for stage in repo.index.stages})


def written(lock: Path) -> dict[str, dict[str, str]]:
    """Item -> what it wrote: path and hash."""
    return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in items(lock).items()}


def code_of(lock: Path) -> dict[str, dict[str, Any]]:
    """Path of code -> what the lock says of it."""
    return {
        dep["path"]: dep
        for stage in items(lock).values()
        for dep in stage["deps"]
        if dep["path"].startswith(("stages/", "weightgraft/"))
    }


def differing(before: Mapping[str, Mapping], after: Mapping[str, Mapping]) -> list[str]:
    """The items that wrote something else, or that only one of the two has."""
    return sorted(item for item in before.keys() | after.keys() if before.get(item) != after.get(item))


def unproved(lock: Path, before: Mapping[str, Mapping], after: Mapping[str, Mapping]) -> list[str]:
    """Paths of code of which a lock names another hash than both commits have: that these two are alike says nothing of them."""
    told = {(dep["path"], dep["md5"]) for stage in items(lock).values() for dep in stage["deps"]}
    same = {path: dep["md5"] for path, dep in after.items() if before.get(path, {}).get("md5") == dep["md5"]}
    return sorted({path for path, md5 in told if path in same and same[path] != md5})


def record(lock: Path, code: Mapping[str, Mapping[str, Any]]) -> int:
    """Put these hashes of code into a lock. The number of items that it has.

    Of a really pretrained model, the figures and the report of its copy are not published; so its lock says nothing of them.
    """
    whole, told = read_yaml(lock), items(lock)
    for name, stage in told.items():
        stage["deps"] = [dict(code.get(dep["path"], dep)) for dep in stage["deps"]]
        whole["stages"][name] = stage
    if lock != STUDY:
        whole["stages"] = {name: stage for name, stage in whole["stages"].items() if name not in SHOW}
    new = lock.with_suffix(".new")
    dump_yaml(new, whole)  # as DVC writes it
    new.replace(lock)
    return len(told)


def check_again(model: str, changes: Mapping[str, Any], lock: Path) -> None:
    """Run check_params, which depends on all code, on a really pretrained model's study, and tell its lock."""
    copy = (COPIES / f"{model}-checked").resolve()
    make_copy(Path.cwd(), copy, {"study.models": [model], **changes}, cache=(COPIES / "cache").resolve())
    shutil.copyfile(lock, copy / "dvc.lock")
    dvc(copy, "repro", "--quiet", "--single-item", CHECK, check=True)
    shutil.copyfile(copy / "dvc.lock", lock)


def checkout(since: str, folder: Path) -> Path:
    """The repository as it was, in a work tree of its own, with what was downloaded here."""
    # What `make clean` or a kill has left is neither a folder without an entry in git nor an entry without a folder afterwards.
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "worktree", "prune"])
    done = subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(folder), since])
    if done.returncode:
        raise UserError(
            f"--since {since}: git knows no such commit, or cannot check it out, as is told above"
        )
    downloads = Path(DOWNLOADS).resolve()
    downloads.mkdir(parents=True, exist_ok=True)
    (folder / DOWNLOADS).parent.mkdir(parents=True, exist_ok=True)
    os.symlink(downloads, folder / DOWNLOADS)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--since", required=True, help="a commit whose code made the results that are in git")
    parser.add_argument("--jobs", type=int, default=2, help="items that run side by side, of one thread each")
    parser.add_argument("--before", action="store_true", help="only what is made at that commit")
    args = parser.parse_args()
    there = checkout(args.since, (COPIES / "since").resolve())
    different: list[str] = []
    code: dict[str, dict[str, Any]] = {}
    old: dict[str, dict[str, Any]] = {}
    sources = {"before": there} if args.before else {"before": there, "after": Path.cwd()}
    for name, changes in studies().items():
        made = {}
        for when, source in sources.items():
            copy = (COPIES / f"{name}-{when}").resolve()
            # One cache for both: what was trained with the same code and settings is not trained again.
            make_copy(source, copy, changes, cache=(COPIES / "cache").resolve())
            repro(copy, *LAST, jobs=args.jobs)
            forget_gone(copy)
            made[when] = written(copy / "dvc.lock")
        if not args.before:
            different += differing(made["before"], made["after"])
            old |= code_of((COPIES / f"{name}-before").resolve() / "dvc.lock")
            code |= code_of(copy / "dvc.lock")
            print(f"unchanged: {name}: {len(made['after'])} items made at both commits", flush=True)
    if args.before:
        return
    if different:
        raise UserError(
            f"what {', '.join(different)} wrote is not what it was at {args.since}: "
            "make repro and make real, and commit what they make"
        )
    for lock in (STUDY, *(REAL / f"{model}.lock" for model in load_section("real"))):
        if paths := unproved(lock, old, code):
            raise UserError(
                f"{lock} names another {', '.join(paths)} than {args.since} and today, which have the same: "
                "SINCE must be a commit whose code made the results"
            )
    entries = record(STUDY, code)
    for model, changes in load_section("real").items():
        check_again(model, changes, REAL / f"{model}.lock")
        entries += record(REAL / f"{model}.lock", code)
    print(
        f"unchanged: all files have the bytes that they had; {entries} items name today's code; now make figures"
    )


if __name__ == "__main__":
    run_main(main)
