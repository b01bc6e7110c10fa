"""Claims about make unchanged: what is compared are valid small studies of all that is in the locks, which are told of code and
of nothing else."""

import shutil
import subprocess

import pytest
from closure import ROOT

from stages.check_params import check
from stages.commands import unchanged
from stages.study.params import read_yaml, with_changes
from weightgraft.errors import UserError

LOCKS = ["dvc.lock", "results/real/smollm2-135m.lock", "results/real/gemma-3-270m.lock"]


@pytest.mark.parametrize("name", unchanged.studies())
def test_the_small_studies_are_valid(name):
    check(with_changes(read_yaml(ROOT / "params.yaml"), unchanged.studies()[name]), ROOT / "data")


def test_every_item_that_the_locks_say_was_grafted_is_grafted_in_small():
    params = read_yaml(ROOT / "params.yaml")
    for changes, lock in zip(unchanged.studies().values(), LOCKS, strict=True):
        study = with_changes(params, changes)["study"]
        made = {f"{model}-{seed}" for model in study["models"] for seed in study["seeds"]}
        made |= {
            f"{model}-{seed}" for model in study["repeats"]["models"] for seed in study["repeats"]["seeds"]
        }
        made |= {f"{model}-{seed}" for model in study["new_form"]["models"] for seed in study["seeds"]}
        grafted = {
            item.partition("@")[2] for item in unchanged.items(ROOT / lock) if item.startswith("graft")
        }
        assert grafted == made


@pytest.mark.parametrize("lock", LOCKS)
def test_what_a_lock_is_told_is_the_hash_of_changed_code_and_the_rest_keeps_its_bytes(
    lock, tmp_path, monkeypatch
):
    copy = tmp_path / "dvc.lock"
    shutil.copyfile(ROOT / lock, copy)
    if lock == "dvc.lock":
        monkeypatch.setattr(unchanged, "STUDY", copy)
    told = unchanged.code_of(copy)
    assert {"weightgraft/engine", "weightgraft/loading", "stages/graft.py"} <= told.keys()
    assert unchanged.record(copy, told) == len(unchanged.items(copy))
    assert copy.read_bytes() == (ROOT / lock).read_bytes()
    old = told["weightgraft/engine"]["md5"]
    unchanged.record(copy, {"weightgraft/engine": told["weightgraft/engine"] | {"md5": "0" * 32 + ".dir"}})
    lines = zip((ROOT / lock).read_text().splitlines(), copy.read_text().splitlines(), strict=True)
    changed = [(before.strip(), after.strip()) for before, after in lines if before != after]
    assert set(changed) == {(f"md5: {old}", f"md5: {'0' * 32}.dir")}
    assert len(changed) == sum(item.startswith("graft") for item in unchanged.items(copy))


def test_a_commit_that_is_none_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--since no-such-commit: git knows no such commit"):
        unchanged.checkout("no-such-commit", tmp_path / "since")


def test_a_work_tree_is_made_again_whatever_is_left_of_the_last_one(tmp_path, monkeypatch):
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], check=True)
    folder = tmp_path / "repository/.unchanged/since"
    unchanged.checkout("HEAD", folder)
    shutil.rmtree(folder.parent)  # make clean
    unchanged.checkout("HEAD", folder)
    shutil.rmtree(".git/worktrees/since")
    unchanged.checkout("HEAD", folder)
    assert (folder / ".git").is_file()


@pytest.mark.parametrize("lock", LOCKS)
def test_two_commits_with_the_same_code_say_nothing_of_results_that_other_code_made(lock, tmp_path):
    code, copy = unchanged.code_of(ROOT / lock), tmp_path / "dvc.lock"
    assert unchanged.unproved(ROOT / lock, code, code) == []
    engine = code["weightgraft/engine"]["md5"]
    copy.write_text((ROOT / lock).read_text().replace(engine, "0" * 32 + ".dir"))
    assert unchanged.unproved(copy, code, code) == ["weightgraft/engine"]
    other = code | {"weightgraft/engine": {"md5": "1" * 32 + ".dir"}}
    assert unchanged.unproved(copy, other, code) == []  # both were run, and what they write can be compared


def test_an_item_that_wrote_other_bytes_or_is_there_once_is_named():
    before = {"graft@a": {"runs/graft/a": "1"}, "graft@b": {"runs/graft/b": "2"}, "graft@c": {}}
    after = before | {"graft@b": {"runs/graft/b": "3"}, "graft@d": {}}
    del after["graft@c"]
    assert unchanged.differing(before, before) == []
    assert unchanged.differing(before, after) == ["graft@b", "graft@c", "graft@d"]


def test_of_a_really_pretrained_model_nothing_is_told_that_is_not_published(tmp_path):
    copy = tmp_path / "smollm2-135m.lock"
    shutil.copyfile(ROOT / "dvc.lock", copy)
    unchanged.record(copy, {})
    before, after = (read_yaml(path)["stages"] for path in (ROOT / "dvc.lock", copy))
    assert before.keys() - after.keys() == {"render_figures", "write_report"}
    assert all(after[name] == before[name] for name in after)
