"""The made-up study in a folder, and the stage run on it."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_study import FIGURES, STUDY, arguments_in, write_study

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


@pytest.fixture(scope="session")
def small_study(tmp_path_factory) -> Path:
    """Two models, one setup, three figures: a page in a fifth of the time."""
    folder = tmp_path_factory.mktemp("small")
    few = {"models": ["tiny-gpt2", "tiny-llama"], "recipes": ["fmra"], "setups": [], "own": []}
    none = {"models": [], "recipes": [], "parts": [], "setups": []}
    figures = {name: FIGURES[name] for name in ("figure1", "figure2", "figure_title")}
    write_study(folder, STUDY | few | {"new_form": none}, figures)
    return folder


@pytest.fixture
def study_folder(small_study, tmp_path) -> Path:
    """A copy of the small study, to change."""
    return shutil.copytree(small_study, tmp_path / "study")


@pytest.fixture
def run_stage() -> Callable[[Path], Path]:
    """Run the stage on a study's folder; gives the path of its page."""
    return report
