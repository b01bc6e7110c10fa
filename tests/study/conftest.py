"""A whole model in a folder, as the hub has it, and a copy of it to damage."""

import shutil
from pathlib import Path

import pytest
from made_up_sources import write_llama


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_llama(tmp_path_factory.mktemp("hub") / "llama")


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "llama")
