"""What all tests share: one thread, since the models are tiny and the tests run side by side; and no network."""

import os
import runpy
import tempfile
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook
from warm import warm_commands

ROOT = Path(__file__).parents[1]
# Where signatures tell shapes, what runs is held against them. Not everywhere: mypy knows the other types, and to look at every
# argument of every call took more than half of the time of the oracle's tests.
SHAPED = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("weightgraft", "stages")
    for path in (ROOT / package).rglob("*.py")
    if "from jaxtyping" in path.read_text(encoding="utf-8")
]
install_import_hook(SHAPED, "typed.checked")

GUARD = Path(__file__).parent / "guarded"
# For this process, and for every one that the tests start. A test that reaches for another machine, or asks for its address, fails.
runpy.run_path(str(GUARD / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(GUARD), os.environ.get("PYTHONPATH")]))
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def warm_python():
    """A `python` whose starts of stages cost little, a `dvc` beside it: as sys.executable, they are what a run in a copy finds."""
    with tempfile.TemporaryDirectory() as folder, warm_commands(Path(folder)) as commands:
        yield commands / "python"


LONGEST = ("test_pipeline.py",)


def pytest_collection_modifyitems(items):
    """The longest files first: at the end one process would run them, and the other wait. (pytest 9 itself forgets the order in
    which overlapping paths are given.)"""
    items.sort(key=lambda item: item.path.name not in LONGEST)
