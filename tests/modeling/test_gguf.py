"""Claims about GGUF files: what is made of one computes what was written into it, and what would not is refused in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_ggufs import SHAPES, TEXTS, model_for_gguf, tokenizer_of, write_gguf
from transformers import AutoModelForCausalLM
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from stages.modeling import gguf, gguf_header
from stages.modeling.gguf import converted
from stages.modeling.gguf_header import SPLITTINGS, check_gguf, config_in
from stages.modeling.models import load_model, set_up
from stages.modeling.packages import sha256_of
from stages.modeling.sources import obtain, obtain_early
from weightgraft.errors import UserError
from weightgraft.loading.folders import check_model, check_tokenizer

PRE = {"qwen2": "qwen2", "qwen3": "qwen2"}
ASKED = "Tim Roth stars in a film of 1997 with Kate"


@pytest.fixture(autouse=True, scope="module")
def quiet():
    set_up(0, threads=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    """A llama's GGUF without quantization, and the model."""
    tokenizer = tokenizer_of(bos=False)
    model = model_for_gguf("llama", tokenizer)
    return write_gguf(tmp_path_factory.mktemp("plain") / "llama.gguf", model, tokenizer), model


def logits(model, tokenizer) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(ASKED, return_tensors="pt")).logits


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", SHAPES)
def test_the_logits_are_those_of_the_model_that_was_written(tmp_path, family, tied):
    tokenizer = tokenizer_of(bos=family == "gemma3_text")
    model = model_for_gguf(family, tokenizer, tie_word_embeddings=tied)
    file = write_gguf(tmp_path / "a.gguf", model, tokenizer, pre=PRE.get(family, "gpt-2"))
    made, read = load_model(converted("a", file, None, "float32", tmp_path))
    expected = logits(model, tokenizer)
    assert expected.std() > 0.1
    assert family in PRE or read(ASKED)["input_ids"] == tokenizer(ASKED)["input_ids"]
    # Of logits of size 1: rms_norm_eps and theta are float32 in a GGUF.
    torch.testing.assert_close(logits(made, tokenizer), expected, rtol=0, atol=1e-5)
    assert (made.lm_head.weight is made.model.embed_tokens.weight) == tied
    said = config_in(check_gguf("a", file))
    assert len(said) > 7 and said == {key: getattr(made.config, key) for key in said}


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_quantized_weights_come_out_as_transformers_reads_them(tmp_path, plain, kind):
    tokenizer, (_, model) = tokenizer_of(bos=False), plain
    file = write_gguf(tmp_path / "a.gguf", model, tokenizer, kind)
    made, read = load_model(converted("a", file, None, "float32", tmp_path / "made"))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="a.gguf", dtype=torch.float32)
    assert torch.equal(logits(made, read), logits(theirs, tokenizer))
    apart = (logits(made, read) - logits(model, tokenizer)).abs().max()
    assert 1e-3 < apart < {"Q8_0": 0.3, "Q4_0": 3.0}[kind], apart


def test_the_folder_is_a_plain_model_in_the_dtype_asked(tmp_path, plain):
    folder = converted("a", plain[0], sha256_of(plain[0]).upper(), "bfloat16", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "bfloat16"
    assert check_model("a", folder, adapters=False) == "llama"
    check_tokenizer("a", folder)
    made, _ = load_model(folder, "bfloat16")
    assert made.dtype == torch.bfloat16
    for name, tensor in plain[1].state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor.to(torch.bfloat16)), name
    assert not [*tmp_path.glob("tmp*"), *tmp_path.glob("*.part")]


def test_a_file_is_converted_once_a_dtype(tmp_path, plain, monkeypatch):
    folder = converted("a", plain[0], None, "float32", tmp_path)
    monkeypatch.setattr(gguf, "_read_model", None)
    assert converted("another name", plain[0], None, "float32", tmp_path) == folder
    with pytest.raises(TypeError):
        converted("a", plain[0], None, "bfloat16", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_gguf_is_a_source_of_the_study(tmp_path, plain, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = {"gguf": str(plain[0]), "sha256": None, "early": "untrained"}
    model, tokenizer = obtain(source, "llama", {"hidden_size": 64}, "float32")
    torch.testing.assert_close(logits(model, tokenizer), logits(plain[1], tokenizer), rtol=0, atol=1e-5)
    assert tokenizer.pad_token == tokenizer.eos_token == "<eos>"  # it names none
    early = obtain_early(source, model)
    assert not torch.equal(early.lm_head.weight, model.lm_head.weight)
    for family, architecture, words in (
        ("qwen2", {}, "is a llama model; its entry's family is 'qwen2'"),
        ("llama", {"hidden_size": 32}, "hidden_size = 64; params.yaml's architecture 32"),
    ):
        with pytest.raises(UserError, match=f"llama.gguf: .*{words}"):
            obtain(source, family, architecture, "float32")


@pytest.mark.parametrize("bos", [True, False])
def test_bos_is_put_in_front_where_the_file_says_so(tmp_path, bos):
    tokenizer = tokenizer_of(bos)
    file = write_gguf(tmp_path / "a.gguf", model_for_gguf("llama", tokenizer), tokenizer)
    _, read = load_model(converted("a", file, None, "float32", tmp_path))
    for text in (*TEXTS, " two  spaces\n3", "Ünïcode?"):
        assert read(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (read("a")["input_ids"][0] == read.bos_token_id) == bos


def test_gemmas_sentencepiece_vocabulary_is_read_and_kept(tmp_path):
    single = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *single, *"TimRothofln1▁", "  ", "Ti", "Tim", "▁R", "▁Ro"]
    model = model_for_gguf("gemma3_text", tokenizer_of(bos=True), vocab_size=len(pieces))
    file = write_gguf(tmp_path / "a.gguf", model, tokenizer_of(bos=True), pieces=pieces)
    _, read = load_model(converted("a", file, None, "float32", tmp_path))
    assert read("Tim Roth").tokens() == ["<bos>", "Tim", "▁Ro", "t", "h"]
    assert read("Tim  1é").tokens() == ["<bos>", "Tim", "▁▁", "1", "<0xC3>", "<0xA9>"]
    assert read.decode(read("Tim  Roth")["input_ids"], skip_special_tokens=True) == "Tim  Roth"
    assert (read.pad_token, read.eos_token) == ("<pad>", "<eos>")


def test_smollms_digits_stand_alone(tmp_path):
    tokenizer = tokenizer_of(bos=False)
    file = write_gguf(tmp_path / "a.gguf", model_for_gguf("llama", tokenizer), tokenizer, pre="smollm")
    _, read = load_model(converted("a", file, None, "float32", tmp_path))
    assert tokenizer("film of 1997").tokens()[-1] == "Ġ1997"
    assert read("film of 1997").tokens()[-5:] == ["Ġ", "1", "9", "9", "7"]


def test_the_ways_to_cut_text_are_those_of_transformers_and_two_more():
    assert {*GGUF_PRE_TOKENIZER_SPLITS} | {"gpt-2", "smollm"} == SPLITTINGS


def test_a_tokenizer_that_transformers_would_load_as_another_is_refused(tmp_path):
    tokenizer = tokenizer_of(bos=False)
    file = write_gguf(tmp_path / "a.gguf", model_for_gguf("qwen2", tokenizer), tokenizer, pre="gpt-2")
    with pytest.raises(UserError, match=r"mine: transformers cuts .In 1997.* tokens, .*; give a folder"):
        converted("mine", file, None, "float32", tmp_path / "made")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tensors": {"rope_freqs.weight": np.ones(8, np.float32)}}, "rope_freqs.weight is in it and is not read"),
        ({"tensors": {"blk.1.ffn_up.weight": None}}, r"missing keys: model\.layers\.1\.mlp\.up_proj\.weight"),
        ({"tensors": {"blk.1.ffn_up.weight": np.ones((64, 64), np.float32)}}, r"mismatched keys: .*up_proj|up_proj.*"),
        ({"tensors": {"output_norm.weight": np.full(64, np.inf, np.float32)}}, r"model\.norm\.weight has .* NaN or inf"),
        ({"more": {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}}, "positions are scaled"),
        ({"more": {"split.count": 3}}, "one of 3 files; join them"),
        ({"pre": "superbpe"}, "cuts text in the way 'superbpe'"),
    ],
)  # fmt: skip
def test_what_would_be_another_model_is_refused(tmp_path, plain, change, words):
    tokenizer = tokenizer_of(bos=False)
    file = write_gguf(tmp_path / "a.gguf", plain[1], tokenizer, **change)
    with pytest.raises(UserError, match=f"^mine: .*({words})") as raised:
        converted("mine", file, None, "float32", tmp_path / "made")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "made").exists() or not [*(tmp_path / "made").iterdir()]


def test_a_file_that_is_cut_anywhere_or_is_none_is_told(tmp_path, plain):
    data, cut = plain[0].read_bytes(), tmp_path / "cut.gguf"
    for at in (0, 3, 4, 20, 24, 60, 900, 4000, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:at])
        with pytest.raises(UserError, match=r"^mine: (cut short|no GGUF file)") as raised:
            converted("mine", cut, None, "float32", tmp_path)
        assert "\n" not in str(raised.value)
    cut.write_bytes(data[:4] + b"\x01" + data[5:])
    with pytest.raises(UserError, match="GGUF of version 1; read are 2 and 3"):
        check_gguf("mine", cut)
    cut.write_bytes(data.replace(b"llama", b"bloom"))
    with pytest.raises(
        UserError, match="a GGUF of bloom; read are llama, qwen2, qwen3, gemma3; give a folder"
    ):
        check_gguf("mine", cut)
    with pytest.raises(UserError, match="mine: no such file"):
        converted("mine", tmp_path / "none.gguf", None, "float32", tmp_path)


def test_another_sum_is_told_before_the_file_is_read(tmp_path, plain, monkeypatch):
    monkeypatch.setattr(gguf, "check_gguf", None)
    with pytest.raises(UserError, match=f"expected {'0' * 64}, found {sha256_of(plain[0])}"):
        converted("mine", plain[0], "0" * 64, "float32", tmp_path)


def test_without_the_package_gguf_the_extra_is_named(tmp_path, plain, monkeypatch):
    monkeypatch.setattr(gguf_header, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install '.[gguf]'")):
        converted("mine", plain[0], None, "float32", tmp_path)
