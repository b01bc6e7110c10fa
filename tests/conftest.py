"""What all tests share: one thread, since the models are tiny and the tests run side by side; and no network."""

import os
import runpy
from pathlib import Path

import pytest
import torch

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


LONGEST = ("test_pipeline.py",)


def pytest_collection_modifyitems(items):
    """The longest files first: at the end one process would run them, and the other wait. (pytest 9 itself forgets the order in
    which overlapping paths are given.)"""
    items.sort(key=lambda item: item.path.name not in LONGEST)
