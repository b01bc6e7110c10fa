"""Claims about copies of the repository: one is made where nothing of anybody's is lost by it, or nowhere."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.commands import quick
from stages.commands.quick import copy_repository, show_again
from weightgraft.errors import UserError


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "home/source"
    (folder / "stages").mkdir(parents=True)
    for name in ("dvc.yaml", "stages/graft.py", "results/seen.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_copy_is_made_anew_and_keeps_what_its_own_runs_made(source, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "dvc.yaml").write_text("half of a copy that was killed")
    copy_repository(source, copy)
    assert files(copy) == {"dvc.yaml", "stages/graft.py"}
    (copy / "runs").mkdir()
    (copy / "runs/weights").write_text("made")
    (copy / "old.py").write_text("of an earlier copy")
    copy_repository(source, copy)
    assert files(copy) == {"dvc.yaml", "stages/graft.py", "runs/weights"}
    assert (copy / "dvc.yaml").read_text() == "dvc.yaml"


@pytest.mark.parametrize("place", ["home/source", "home", "thesis"])
def test_a_folder_that_is_no_copy_is_not_emptied(source, tmp_path, place):
    (tmp_path / "thesis/text").mkdir(parents=True)
    (tmp_path / "thesis/text/chapter.tex").write_text("years of work")
    before = files(tmp_path)
    with pytest.raises(UserError, match=r"take the place of the repository|holds text, which no run here"):
        copy_repository(source, tmp_path / place)
    assert files(tmp_path) == before


def test_a_folder_that_git_cannot_list_is_told_in_one_line(source, tmp_path):
    (source / ".git/HEAD").unlink()
    with pytest.raises(UserError, match=r"git cannot list what is copied .* a clone is needed"):
        copy_repository(source, tmp_path / "copy")


def test_results_are_shown_by_this_environments_dvc_once_no_other_one_is_at_work(monkeypatch):
    ran = []

    def run(command, env):
        ran.append((command, env["PATH"].partition(":")[0]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(quick.subprocess, "run", run)
    show_again()
    assert len(ran) == 2
    for command, first in ran:
        assert command[:3] == ["dvc", "--wait-for-lock", "repro"] and first == str(
            Path(sys.executable).parent
        )
