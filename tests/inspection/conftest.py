"""Random checkpoints on disk, a question about them, and the command line in this process."""

import contextlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_lora, tiny_model

from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from weightgraft import Prompt, encode_prompt
from weightgraft.errors import run_main
from weightgraft.inspection.command import main

TEXT = "Ann Lee starred in Night River together with"
NAMES = [" Bob Ray", " Jim Fox", " Eve Day", " Dan Orr"]
QUESTION = {"--prompt": TEXT, "--target": " Bob Ray", "--foil": " Jim Fox"}
SPANS = {"FE": "Ann Lee", "M": "Night River"}


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([TEXT + name for name in NAMES] * 4, 330, bos=True)


@pytest.fixture(scope="session")
def prompt(tokenizer) -> Prompt:
    """The question as the engine takes it."""
    spans = {name: [(TEXT.index(text), TEXT.index(text) + len(text))] for name, text in SPANS.items()}
    return encode_prompt(tokenizer, TEXT, QUESTION["--target"], spans, QUESTION["--foil"])


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tokenizer) -> Path:
    """base, sft, other: whole models; lora: an adapter on base; merged: the same as a whole model."""
    path = tmp_path_factory.mktemp("inspection")
    sizes = {"vocab_size": len(tokenizer)}
    base = tiny_model("gpt2", seed=0, **sizes)
    save_model(base, tokenizer, path / "base")
    save_model(tiny_model("gpt2", seed=1, **sizes), tokenizer, path / "sft")
    save_model(tiny_model("gpt2", seed=2, **sizes), tokenizer, path / "other")
    save_model(tiny_model("gpt2", seed=1, n_layer=2, **sizes), tokenizer, path / "shallow")
    adapter = tiny_lora(base, seed=3)
    save_model(adapter, tokenizer, path / "lora")
    save_model(adapter.merge_and_unload(), tokenizer, path / "merged")
    return path


@pytest.fixture
def copied(folder, tmp_path) -> Callable[[str], Path]:
    """A copy of one of the models, to be spoiled."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(folder / name, tmp_path / f"bad-{name}"))

    return copy


@pytest.fixture(scope="session")
def command(folder, tmp_path_factory) -> Callable[..., list[str]]:
    """The arguments of a run; keywords replace values, None leaves an option out."""
    out = tmp_path_factory.mktemp("pictures") / "picture.png"

    def arguments(
        *more: str, recipient="base", donors=("sft=sft",), spans=SPANS, **changes: Any
    ) -> list[str]:
        named = [text.partition("=") for text in donors]
        options = {
            "--recipient": [folder / recipient],
            "--donor": [f"{name}={folder / where}" for name, _, where in named],
            **{name: [value] for name, value in QUESTION.items()},
            "--span": [f"{name}={text}" for name, text in spans.items()],
            "--out": [out],
        }
        options |= {f"--{name}": [value] for name, value in changes.items()}
        return [
            str(word)
            for name, values in options.items()
            if values and values != [None]
            for word in (name, *values)
        ] + list(more)

    return arguments


@pytest.fixture
def run(command, capfd, monkeypatch) -> Callable[..., tuple[str, str]]:
    """Run the command; gives (stdout, stderr) in full."""

    def started(*more: str, **changes: Any) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["inspect", *command(*more, **changes)])
        capfd.readouterr()
        run_main(main)
        return capfd.readouterr()

    return started


@pytest.fixture
def refused(command, capfd, monkeypatch) -> Callable[..., str]:
    """Run the command, which must end with one line and exit code 1; gives the line."""

    def started(*more: str, **changes: Any) -> str:
        monkeypatch.setattr(sys, "argv", ["inspect", *command(*more, **changes)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_main(main)
        out, err = capfd.readouterr()
        assert ended.value.code == 1 and out == ""
        assert err.startswith("error: ") and err.count("\n") == 1, err
        return err.strip()

    return started


@pytest.fixture(scope="session")
def document(command) -> dict[str, Any]:
    """What --json prints with the default schemes, one donor whole and one an adapter."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out):
        patched.setattr(sys, "argv", ["inspect", *command("--json", donors=("sft=sft", "lora=lora"))])
        main()
    return json.loads(out.getvalue())
