"""Claims about models of the hub: what it refuses is said before any work, and what its config says need not be stated again."""

import json
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError
from made_up_sources import DATA, HERE, PARAMS, SHAPE, model_of

from stages.check_params import check
from stages.study.checking.architectures import check_architecture
from stages.study.checking.sources import check_source
from stages.study.schema import Model
from weightgraft.errors import UserError


def response(status: int):
    from httpx2 import Request, Response

    return Response(status, request=Request("GET", "https://hub.invalid"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda: GatedRepoError("no", response=response(403)), ["gated", "accept its terms", "HF_TOKEN"]),
        (lambda: RepositoryNotFoundError("no", response=response(404)), ["has no model", "hf auth login"]),
        (lambda: RevisionNotFoundError("no", response=response(404)), ["has no revision 4e20de3"]),
        (lambda: HTTPError("no name"), ["cannot be reached", "give its folder"]),
        (lambda: TimeoutError("slow"), ["cannot be reached"]),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(monkeypatch, tmp_path, error, words):
    def refuse(*args, **options):
        raise error()

    monkeypatch.setattr(HfApi, "model_info", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **options: None)
    model = Model.model_validate(PARAMS["models"]["llama-3_2-1b"])
    with pytest.raises(UserError) as raised:
        check_source("llama-3_2-1b", model, 0, HERE, tmp_path)
    message = str(raised.value)
    assert all(word in message for word in ["meta-llama/Llama-3.2-1B", *words]) and "\n" not in message


@pytest.mark.parametrize("files", [{"model.safetensors": 10**18, "onnx/model.safetensors": 1}, {"a.bin": 1}])
def test_a_hub_model_needs_safetensors_and_room(monkeypatch, tmp_path, files):
    offer(monkeypatch, files)
    model = Model.model_validate(PARAMS["models"]["gpt2-xl"])
    wanted = r"needs 2000000000\.0 GB of disk for it \(2 models" if len(files) > 1 else "no safetensors"
    with pytest.raises(UserError, match=wanted):
        check_source("gpt2-xl", model, 0, HERE, tmp_path)


def offer(monkeypatch, files: dict[str, int], refuse: Exception | None = None) -> None:
    """A hub that has these files; of a gated model it lists them and hands none out."""
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files.items()]
    info = SimpleNamespace(siblings=siblings, safetensors=None)

    def hand_out(*args, **options):
        if refuse:
            raise refuse

    monkeypatch.setattr(HfApi, "model_info", lambda *args, **options: info)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", hand_out)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **options: None)


def test_a_gated_model_whose_files_are_listed_is_refused_before_any_work(monkeypatch, tmp_path):
    offer(monkeypatch, {"model.safetensors": 1}, GatedRepoError("no", response=response(403)))
    model = Model.model_validate(PARAMS["models"]["llama-3_2-1b"])
    with pytest.raises(UserError, match=r"meta-llama/Llama-3\.2-1B is gated; accept its terms .*HF_TOKEN"):
        check_source("llama-3_2-1b", model, 0, HERE, tmp_path)


SAID = {
    "model_type": "gpt2",
    "n_embd": 1600,
    "n_layer": 48,
    "n_head": 25,
    "vocab_size": 50257,
    "n_inner": None,
}


@pytest.fixture
def hub_config(monkeypatch, tmp_path) -> Path:
    """The hub has gpt2-xl, and hands out this config.json."""
    offer(monkeypatch, {"model.safetensors": 10**6})
    path = tmp_path / "hub/config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(SAID))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *args, **options: str(path))
    return path


def xl(**architecture) -> Model:
    return Model.model_validate(PARAMS["models"]["gpt2-xl"] | {"architecture": architecture})


def test_a_model_with_a_source_needs_no_architecture_its_own_config_says_it(hub_config, whole, tmp_path):
    stated = Model.model_validate(PARAMS["models"]["gpt2-xl"])
    assert check_architecture("gpt2-xl", xl(), tmp_path) == check_architecture("gpt2-xl", stated, tmp_path)
    assert check_architecture("mine", model_of(whole), tmp_path).n_layers == 3


def test_what_is_stated_of_a_model_with_a_source_is_checked_before_any_work(hub_config, whole, tmp_path):
    assert check_architecture("gpt2-xl", xl(n_layer=48), tmp_path).n_layers == 48
    with pytest.raises(UserError, match=r"gpt2-xl\.architecture\.n_layer is 12; the config .* says 48$"):
        check_architecture("gpt2-xl", xl(n_layer=12), tmp_path)
    mine = model_of(whole)
    mine.architecture = {**SHAPE, "num_hidden_layers": 7}
    with pytest.raises(UserError, match=r"mine\.architecture\.hidden_size is 32; the config .* says 24$"):
        check_architecture("mine", mine, tmp_path)


def test_a_scheme_in_layers_that_the_models_config_does_not_have_is_named_before_any_work(hub_config):
    values = deepcopy(PARAMS)
    values["models"]["gpt2-xl"]["architecture"] = {}
    values["models"]["gpt2-xl"]["device"] = "cpu"
    values["study"]["models"], values["study"]["repeats"]["models"] = ["gpt2-xl"], []
    values["study"]["new_form"]["models"] = []
    values["real"] = {}  # whose models have fewer layers
    check(values, DATA)
    values["experiments"]["positions"]["schemes"].append("FE[40]")
    check(values, DATA)
    hub_config.write_text(json.dumps(SAID | {"n_layer": 12}))
    with pytest.raises(UserError, match=r"experiments\.positions\.schemes.*gpt2-xl.*40"):
        check(values, DATA)


def test_an_earlier_runs_config_is_read_before_the_hub_is_asked(monkeypatch, tmp_path):
    folder = tmp_path / "runs/pretrain/gpt2-xl"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SAID))
    assert check_architecture("gpt2-xl", xl(), tmp_path).n_layers == 48
    with pytest.raises(UserError, match=r"models\.another\.source: .* the hub cannot be reached"):
        check_architecture("another", xl(), tmp_path)
