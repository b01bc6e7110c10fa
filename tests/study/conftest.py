"""A whole model in a folder, as the hub has it, and a copy of it to damage."""

from pathlib import Path

import pytest
from tiny_models import tiny_model

from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A random llama in the hub's layout."""
    folder = tmp_path_factory.mktemp("hub") / "llama"
    tokenizer = train_tokenizer(["Ann stars with Bob."] * 4, 300, bos=True)
    save_model(tiny_model("llama", seed=0, vocab_size=len(tokenizer)), tokenizer, folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy to damage."""
    copy = tmp_path / "llama"
    copy.mkdir()
    for file in whole.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy
