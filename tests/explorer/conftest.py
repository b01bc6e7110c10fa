"""Tiny models behind an explorer: two donors, one of them an adapter; a client in this process, without a socket."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient
from tiny_models import tiny_lora, tiny_model

from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from weightgraft.explorer.models import Models
from weightgraft.explorer.server import explorer_app

PORT = 8460
TEXT, TARGET = "Ann Lee starred in Night River together with", " Bob Ray"
QUESTION = {"prompt": TEXT, "target": TARGET, "spans": [["FE", 0, 7], ["M", 19, 30]], "scheme": "PRE"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("explorer")
    tokenizer = train_tokenizer([TEXT + TARGET, TEXT + " Jim Fox"] * 4, 330, bos=True)
    sizes = {"vocab_size": len(tokenizer)}
    # So drawn, SFT beats PRE on TARGET.
    base = tiny_model("llama", seed=1, **sizes)
    save_model(base, tokenizer, path / "base")
    save_model(tiny_model("llama", seed=0, **sizes), tokenizer, path / "sft")
    save_model(tiny_lora(base, seed=3), tokenizer, path / "lora")
    return path


@pytest.fixture(scope="session")
def models(folder) -> Models:
    donors = {"sft": folder / "sft", "task": folder / "lora"}
    return Models(folder / "base", donors, "float32", torch.device("cpu"))


@pytest.fixture(scope="session")
def client(models) -> Iterator[TestClient]:
    with TestClient(
        explorer_app(models, PORT), base_url=f"http://127.0.0.1:{PORT}", follow_redirects=False
    ) as made:
        yield made


@pytest.fixture(scope="session")
def ask(client) -> Callable[..., dict[str, Any]]:
    """The answer to QUESTION with changes."""

    def asked(path: str = "/api/answer", **changes: Any) -> dict[str, Any]:
        answer = client.post(path, json=QUESTION | changes)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return asked
