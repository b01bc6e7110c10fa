"""Model directories with damaged files end in one line that names the file or the weight, and leave nothing half-written.

What is broken is drawn: where a file is cut, which weight is lost or no number. Other faults: checking/test_sources.py and
inspection/test_inspect_errors.py.
"""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_up_sources import write_llama
from safetensors.torch import load_file, save_file

from stages import pretrain
from stages.study.checking.sources import check_source
from stages.study.params import read_yaml
from stages.study.schema import Launch, Model
from weightgraft.errors import UserError, run_main
from weightgraft.inspection.folders import check_folders

PARAMS = read_yaml(Path("params.yaml"))
WEIGHTS = "model.safetensors"
RENAMED = ["model.safetensor", "Model.safetensors", "weights.safetensors", "model.safetensors.part"]
NO_JSON = [b"", b"{", b"[]", b"null", b"\xff\xfe{\0}\0", b'{"a": }', b"<html>"]
LAUNCH = Launch(train="python", graft="python")
LENGTH = 8  # bytes that hold the length of a header


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_llama(tmp_path_factory.mktemp("hub") / "llama")


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "llama")


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entry(folder: Path) -> dict:
    """params.yaml's entry of a model that lies in a folder."""
    source = {"model": str(folder), "revision": None, "early": "untrained"}
    return {**PARAMS["models"]["llama-3_2-1b"], "architecture": {}, "source": source, "threads": 1}


def refused(folder: Path) -> str:
    """The line with which the study refuses a folder before any work; `weightgraft inspect` refuses it in the same words."""
    lines = []
    for check in (
        lambda: check_source("mine", Model.model_validate(entry(folder)), 1, LAUNCH, folder.parent),
        lambda: check_folders(folder, {}),
    ):
        with pytest.raises(UserError) as raised:
            check()
        lines.append(str(raised.value))
    assert "models.mine.source" in lines[0] and "--recipient" in lines[1]
    assert all(line and "\n" not in line and str(folder) in line for line in lines), lines
    return lines[0]


@pytest.mark.parametrize("seed", range(16))
def test_weights_that_are_cut_anywhere_are_told_by_their_file(folder, seed):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: random.Random(seed).randrange(len(data))])
    line = refused(folder)
    assert WEIGHTS in line and "cut short" in line, line


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_header_of_the_weights_is_told_by_their_file(folder, seed):
    rng, data = random.Random(seed), bytearray((folder / WEIGHTS).read_bytes())
    if seed % 2:
        data[:LENGTH] = rng.randbytes(LENGTH)
    else:
        data[LENGTH + rng.randrange(40)] = 0xFF  # in no text
    (folder / WEIGHTS).write_bytes(data)
    assert WEIGHTS in refused(folder)


@pytest.mark.parametrize("name", RENAMED)
def test_renamed_weights_are_told_with_what_is_there_instead(folder, name):
    (folder / WEIGHTS).rename(folder / name)
    line = refused(folder)
    assert f"{WEIGHTS} is missing" in line and name in line, line


@pytest.mark.parametrize("data", NO_JSON)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_of_settings_that_cannot_be_read_is_told(folder, name, data):
    (folder / name).write_bytes(data)
    assert name in refused(folder)


@pytest.mark.parametrize(
    "change", [{"model": None}, {"model": {}}, {"model": {"type": "BPE"}}, {"added_tokens": 3}]
)
def test_a_tokenizer_without_its_parts_is_told(folder, change):
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "tokenizer.json is no tokenizer" in refused(folder)


def test_the_tokenizer_of_a_larger_vocabulary_is_told_with_both_sizes(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"vocab_size": 100}))
    line = refused(folder)
    assert "tokenizer.json is another model's" in line and "vocab_size 100" in line, line


@pytest.mark.parametrize("shards", [None, 3, [], {"a": 3}, {}, {"a": "model-00001-of-00002.safetensors"}])
def test_an_index_of_weights_that_are_not_there_is_told(folder, shards):
    (folder / WEIGHTS).unlink()
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": shards}))
    line = refused(folder)
    assert "weight_map" in line or "model-00001-of-00002.safetensors is missing" in line, line


def spoilt(folder: Path, how: str, rng: random.Random) -> str:
    """Damage one weight, drawn; its name. The file is a whole safetensors file all the same."""
    weights = load_file(folder / WEIGHTS)
    name = rng.choice(sorted(weights))
    if how == "lost":
        del weights[name]
    elif how == "renamed":
        weights[f"{name}_old"] = weights.pop(name)
    elif how == "cut":
        weights[name] = weights[name][:-1].contiguous()
    else:
        weights[name].view(-1)[rng.randrange(weights[name].numel())] = float(how)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return name


def pretraining(folder: Path, work: Path) -> list[str]:
    """The words of the stage that obtains a folder's model, and its settings, written."""
    (work / "settings.json").write_text(json.dumps({"model": entry(folder), "pretrain": {"seed": 0}}))
    outputs = {"out": work / "out", "early": work / "early", "metrics": work / "metrics.json"}
    given = {"settings": work / "settings.json", "facts": work / "facts", **outputs}
    return [f"--{name}={path}" for name, path in given.items()]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", ["nan", "inf", "-inf", "lost", "renamed", "cut"])
def test_a_weight_that_is_lost_or_no_number_is_named_and_nothing_is_written(
    folder, tmp_path, monkeypatch, capfd, how, seed
):
    name = spoilt(folder, how, random.Random(f"{how} {seed}"))
    monkeypatch.setattr(sys, "argv", ["pretrain", *pretraining(folder, tmp_path)])
    monkeypatch.setattr(pretrain, "set_up", lambda seed, threads: torch.manual_seed(seed))
    before = contents(tmp_path)
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run_main(pretrain.main)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 1 and str(folder) in line and name in line, line
    assert contents(tmp_path) == before


def test_the_stage_itself_ends_with_one_line_and_leaves_nothing(folder, tmp_path):
    name = spoilt(folder, "nan", random.Random(0))
    before = contents(tmp_path)
    command = [sys.executable, "-m", "stages.pretrain", *pretraining(folder, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if "Loading weights" not in line]
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert len(lines) == 1 and lines[0].startswith("error: ") and name in lines[0], done.stderr
    after = contents(tmp_path)
    after.pop(tmp_path / "settings.json")
    assert after == before
