"""Every mistake ends in one line that says what to do, most of them before a model is loaded."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model

from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from weightgraft.errors import UserError
from weightgraft.inspection.question import named, read_spans
from weightgraft.loading import models


@pytest.fixture
def nothing_loaded(monkeypatch):
    """A run that reads weights fails the test."""

    def forbidden(*_):
        raise AssertionError("weights were read")

    monkeypatch.setattr(models, "load_grafted", forbidden)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"spans": {"FE": "Ann Leo"}}, ["--span FE='Ann Leo'", "occurs 0 times", "FE=start:end", "0 to 44"]),
        ({"spans": {"R": "er"}}, ["--span R='er'", "occurs 2 times", "28, 37", "R=start:end", "R=28:30"]),
        ({"spans": {"FE": "7:7"}}, ["--span FE=7:7", "start must be below end", "44"]),
        ({"spans": {"FE": "40:60"}}, ["--span FE=40:60", "44"]),
        ({"spans": {"LT": "Ann Lee"}}, ["--span 'LT'", "the last token"]),
        ({"spans": {"T3": "Ann Lee"}}, ["--span 'T3'", "single tokens"]),
        ({"spans": {"F E": "Ann Lee"}}, ["--span 'F E'", "letters, digits"]),
        ({"spans": {"FE": "9" * 5000 + ":3"}}, ["occurs 0 times", "9 ...", "FE=start:end"]),
        ({"spans": {"FE": "\udcff"}}, ["--span FE='\\udcff'", "occurs 0 times"]),
        ({"scheme": "T" + "9" * 5000}, ["no token 'T999"]),
        ({"scheme": "T03"}, ["no position set 'T03'", "T0, T1, ... for tokens"]),
        ({"scheme": "FE+X"}, ["'FE+X', character 4", "no position set 'X'", "FE, M, LT"]),
        ({"scheme": "q@q"}, ["'q@q', character 3", "no position set 'q'"]),
        ({"scheme": "q{0,1}@FE, q@LT, O@X"}, ["character 20", "'X'"]),
        ({"scheme": "sf:LT"}, ["'sf:LT', character 1", "no donor 'sf'", "sft, recipient"]),
        ({"scheme": "FE+"}, ["'FE+', character 4", "expected a position set"]),
        ({"scheme": "FE+T99"}, ["'FE+T99', character 4", "no token 'T99'", "T0 to T"]),
        ({"scheme": "FE[7]"}, ["'FE[7]'", "layer 7 does not exist", "layers 0 to 2"]),
        ({"scheme": "gate@FE"}, ["'gate@FE'", "no component 'gate'"]),
        (
            {"prompt": "Ann Lee met ", "target": "Bob", "spans": {}},
            ["unstable boundary", "a space belongs to the target"],
        ),
        ({"foil": ""}, ["--foil is empty"]),
        ({"prompt": "", "spans": {}}, ["--prompt is empty; give what both models are asked"]),
        ({"prompt": "caf\udce9 with", "spans": {}}, ["--prompt is no text", "character 3", "not UTF-8"]),
        ({"target": " \udcff"}, ["--target is no text", "character 1"]),
        ({"foil": "\udcff"}, ["--foil is no text"]),
        ({"spans": {"FE": "0:2"}}, ["'FE'", "ends inside the token"]),
        ({"donors": ["recipient=sft"]}, ["--donor 'recipient'", "PRE, SFT"]),
        ({"donors": ["a=sft", "a=other"]}, ["--donor 'a'", "twice"]),
        ({"donors": ["sft=nowhere"]}, ["--donor sft=", "nowhere", "no such directory"]),
        ({"donors": ["sft=sft/config.json"]}, ["config.json", "a file"]),
        ({"donors": ["sft=shallow"]}, ["donor 'sft' differs", "config.n_layer: 2, recipient 3"]),
        ({"donors": ["sft=."]}, ["no model", "base", "give one of these"]),
        ({"recipient": "lora"}, ["--recipient", "an adapter", "a whole model"]),
        ({"out": "picture.jpeg"}, ["--out", "'.jpeg'", ".png, .svg, .pdf"]),
        ({"out": "no/such/picture.png"}, ["--out", "no/such"]),
    ],
)
def test_a_mistake_is_told_before_weights_are_read(refused, nothing_loaded, changes, words):
    line = refused(**changes)
    assert all(word in line for word in words), line


def test_components_layers_and_heads_are_taken_for_no_position_set():
    text = "a:Q+O{0,1}@(FE+LT)^C[1,2], K@M, R[last_quarter], recipient:LT"
    found = [(kind, name, text[place : place + len(name)]) for kind, name, place in named(text)]
    names = [("position set", "LT"), ("donor", "recipient"), ("position set", "R"), ("position set", "M")]
    names += [("position set", "LT"), ("position set", "FE"), ("donor", "a")]
    assert found == [(kind, name, name) for kind, name in names]


def test_an_option_without_name_is_told(refused):
    assert "--donor 'sft': write NAME=DIR" in refused("--donor", "sft")
    assert "--span 'Ann Lee': write NAME=TEXT" in refused("--span", "Ann Lee")


def test_a_directory_without_a_name_is_not_the_current_one(refused):
    """As of a variable of the shell that is not set."""
    assert "--recipient is empty" in refused("--recipient", "")
    for text in ("a=", "a= ", "a=+lora", "a=lora+", "a=lora++lora"):
        assert f"--donor {text!r}: write NAME=DIR" in refused("--donor", text)


def test_a_directory_whose_name_is_no_text_is_told(refused, folder, tmp_path):
    odd = shutil.copytree(folder / "sft", tmp_path / "\udce9")
    told = "has bytes that are not UTF-8, with which tokenizers opens nothing"
    assert told in refused(donors=[f"sft={odd}"])
    assert told in refused(recipient=odd)


def test_a_span_that_is_not_in_a_long_prompt_is_told_at_once():
    started = time.process_time()
    with pytest.raises(UserError, match="occurs 0 times"):
        read_spans(["FE=Zoë Brontë and the others, all of them"], "Ann Lee with " * 2000)
    with pytest.raises(UserError, match=r"occurs 2000 times .* 0, 15, .* \.\.\.; give"):
        read_spans(["FE=Lee"], "Lee and others " * 2000)
    assert time.process_time() - started < 1.0  # looking at every part takes 3 s


def spoil_nothing_left(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def spoil_weights_gone(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def spoil_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def spoil_cut(folder: Path, kept: float = 0.5) -> None:
    for file in folder.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])


def spoil_cut_header(folder: Path) -> None:
    spoil_cut(folder, kept=0.001)


def spoil_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def spoil_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def spoil_config_text(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def spoil_family(folder: Path) -> None:
    spoil_config(folder, model_type="bert")


def spoil_other_family(folder: Path) -> None:
    spoil_config(folder, model_type="llama")


def spoil_quantized(folder: Path) -> None:
    spoil_config(folder, quantization_config={"quant_method": "gptq"})


def spoil_tokenizer(folder: Path) -> None:
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    train_tokenizer(["Something else, something else."], size, bos=True).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "name", "words"),
    [
        (spoil_nothing_left, "sft", ["no model (config.json is missing)", "there is nothing"]),
        (spoil_weights_gone, "sft", ["model.safetensors is missing", "there is config.json"]),
        (spoil_pickled, "sft", ["pytorch_model.bin only", "safetensors are needed", "save_pretrained("]),
        (spoil_cut, "sft", ["model.safetensors is cut short", "its header says", "copy it again"]),
        (spoil_cut_header, "sft", ["cut short or no safetensors file", "without a whole header"]),
        (spoil_cut, "lora", ["adapter_model.safetensors is cut short"]),
        (spoil_shard, "sft", ["model-00002-of-00002.safetensors is missing"]),
        (spoil_config_text, "sft", ["config.json is no JSON"]),
        (spoil_family, "sft", ["'bert'", "known: gpt2"]),
        (spoil_other_family, "sft", ["a llama model", "the recipient is a gpt2 model"]),
        (spoil_quantized, "sft", ["quantized"]),
        (spoil_tokenizer, "sft", ["tokenizer of 'sft' differs from the recipient's in"]),
    ],
)
def test_a_directory_that_cannot_serve_is_told_before_weights_are_read(
    refused, nothing_loaded, copied, spoil, name, words
):
    folder = copied(name)
    spoil(folder)
    line = refused(donors=[f"sft={folder}"])
    assert all(word in line for word in words), line


def change_weight(folder: Path, file: str, change) -> None:
    weights = load_file(folder / file)
    change(weights)
    save_file(weights, folder / file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("name", "file"), [("sft", "model.safetensors"), ("lora", "adapter_model.safetensors")]
)
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_weight_that_is_no_number_is_named(refused, copied, name, file, number):
    folder, changed = copied(name), []

    def change(weights):
        changed.append(sorted(weights)[-1])
        weights[changed[0]].view(-1)[0] = number

    change_weight(folder, file, change)
    line = refused(donors=[f"sft={folder}"])
    assert changed[0] in line and "NaN or infinite" in line and str(folder) in line


def test_a_weight_that_is_missing_is_not_drawn_at_random(refused, copied):
    folder = copied("sft")
    change_weight(folder, "model.safetensors", lambda weights: weights.pop("transformer.h.1.mlp.c_fc.weight"))
    line = refused(donors=[f"sft={folder}"])
    assert (
        "1 weights are missing" in line and "transformer.h.1.mlp.c_fc.weight" in line and str(folder) in line
    )


def test_a_weight_of_another_shape_is_refused(refused, copied):
    folder = copied("sft")

    def change(weights):
        weights["transformer.ln_f.weight"] = torch.ones(7)

    change_weight(folder, "model.safetensors", change)
    assert str(folder) in refused(donors=[f"sft={folder}"])


def test_what_torch_itself_cannot_compute_is_told_in_one_line(refused, tokenizer, tmp_path):
    """Rotary positions of half a head, which llama's own code cannot apply: no weight has another shape."""
    rotary = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    for seed, name in enumerate(("base", "sft")):
        model = tiny_model("llama", seed=seed, vocab_size=len(tokenizer), rope_parameters=rotary)
        save_model(model, tokenizer, tmp_path / name)
    line = refused(recipient=tmp_path / "base", donors=[f"sft={tmp_path / 'sft'}"])
    assert "torch cannot run these models" in line and "copy it again" in line and "size of tensor" in line


def test_an_adapter_on_a_model_of_another_shape_is_refused(refused, copied):
    folder = copied("lora")

    def change(weights):
        for key in weights:
            weights[key] = torch.ones(5, 5)

    change_weight(folder, "adapter_model.safetensors", change)
    line = refused(donors=[f"sft={folder}"])
    assert "0 of the 24 tensors" in line and "of shape (5, 5), it takes (4, 24)" in line, line


def test_a_gpu_that_is_not_there_is_told(refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = refused(device="cuda")
    assert "--device cuda" in line and "auto or cpu" in line


def test_a_recipient_without_tokenizer_is_told_and_a_donor_needs_none(refused, run, copied):
    bare = copied("sft")
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    assert "no tokenizer" in refused(recipient=bare)
    assert "recovers" in run(donors=[f"sft={bare}"])[0]


@pytest.mark.parametrize(
    "changes", [{"spans": {"FE": "Ann Leo"}}, {"scheme": "FE+X"}, {"donors": ["sft=nowhere"]}]
)
def test_what_needs_no_model_is_told_without_importing_torch(command, changes):
    code = (
        "import sys\nfrom weightgraft.inspection.command import main\nfrom weightgraft.errors import UserError\n"
        "try:\n    main()\nexcept UserError as error:\n    print('torch' in sys.modules, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command(**changes)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("False ")
