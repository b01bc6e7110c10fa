"""The made-up study in a folder, and the stage run on it."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_study import arguments_in, write_study

from stages.write_report import main
from weightgraft.errors import run_main


def report(folder: Path) -> Path:
    """Run the stage on a study's folder; the path of its page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["write_report", *arguments_in(folder)])
        run_main(main)
    return folder / "report.html"


@pytest.fixture(scope="session")
def whole_study(tmp_path_factory) -> Path:
    """A folder with the made-up study and its report: to be read only."""
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    report(folder)
    return folder


@pytest.fixture
def study_folder(whole_study, tmp_path) -> Path:
    """A copy of it without the report, to change."""
    folder = tmp_path / "study"
    shutil.copytree(whole_study, folder, ignore=shutil.ignore_patterns("report.html", "verdicts.md"))
    return folder


@pytest.fixture
def run_stage() -> Callable[[Path], Path]:
    """Run the stage on a study's folder; gives the path of its page."""
    return report
