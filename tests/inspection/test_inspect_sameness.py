"""The command on folders that differ in what computes nothing, on chat templates, and on prompts written in odd ways."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from weightgraft.loading.tokenizers import load_tokenizers

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m.role }}: {{ m.content | trim }}</turn>{% endfor %}"
    "{% if add_generation_prompt %}<turn>model:{% endif %}"
)


@torch.no_grad()
def plain(folder: Path, ids: list[int], n_target: int, rows: int | None = None) -> float:
    """The log-probability of the last tokens by a plain forward pass, over the first rows."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logs = model(input_ids=torch.tensor([ids])).logits[0, :, :rows].log_softmax(-1)
    return sum(logs[place - 1, ids[place]].item() for place in range(len(ids) - n_target, len(ids)))


def asked_ids(found: dict) -> tuple[list[int], int]:
    target = [token["id"] for token in found["target_tokens"]]
    return [token["id"] for token in found["tokens"]] + target, len(target)


@pytest.fixture
def chatty(folder, tmp_path) -> Callable[[str], Path]:
    """A copy of a model whose tokenizer has a chat template."""

    def copy(name: str) -> Path:
        path = Path(shutil.copytree(folder / name, tmp_path / name))
        tokenizer = AutoTokenizer.from_pretrained(path)
        tokenizer.chat_template = TEMPLATE
        tokenizer.save_pretrained(path)
        return path

    return copy


def test_a_chat_turn_is_asked_as_the_tokenizer_renders_it(chatty, run):
    base, sft = chatty("base"), chatty("sft")
    found = json.loads(run("--json", "--chat", "--scheme", "FE", recipient=base, donors=[f"sft={sft}"])[0])
    turn = [{"role": "user", "content": "Ann Lee starred in Night River together with"}]
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids, n_target = asked_ids(found)
    assert ids[:-n_target] == tokenizer.apply_chat_template(
        turn, add_generation_prompt=True, return_dict=False
    )
    assert ids.count(tokenizer.bos_token_id) == 1 and found["prompt"].endswith("<turn>model:")
    assert "Ann Lee" in tokenizer.decode([ids[place] for place in found["positions"]["FE"]])
    for row, path in zip(found["schemes"], (base, sft), strict=False):
        # float32 rounding of logits of size 10, through three layers
        assert row["joint_logprob"] == pytest.approx(plain(path, ids, n_target), abs=1e-4)
    assert found["notes"] == []


@pytest.mark.parametrize(
    ("prompt", "span"),
    [("  Ann Lee with", "  Ann Lee"), ("Ann Lee with \n", "with \n"), (" Ann Lee with ", "0:14")],
)
def test_a_span_has_nothing_of_the_template_where_that_strips_the_turn(chatty, run, prompt, span):
    base, sft = chatty("base"), chatty("sft")
    options = {"recipient": base, "donors": [f"sft={sft}"], "prompt": prompt, "target": " Bob Ray"}
    typed = prompt[:14] if span == "0:14" else span
    wide, narrow = (
        json.loads(run("--json", "--chat", "--scheme", "X", spans={"X": text}, **options)[0])
        for text in (span, typed.strip())
    )
    assert wide["positions"] == narrow["positions"] and wide["schemes"] == narrow["schemes"]


def test_a_span_that_the_template_strips_off_is_told(chatty, refused):
    base = chatty("base")
    line = refused("--chat", recipient=base, prompt="Ann Lee with  ", spans={"X": "13:14"})
    assert (
        "position set 'X': the chat template strips the characters 13 to 14 off; mark the words alone" in line
    )


def test_without_a_template_chat_is_refused_in_a_line(refused):
    assert "--chat: --recipient" in refused("--chat") and "has no chat template" in refused("--chat")


def test_a_bos_in_the_prompt_is_there_once_and_said(run, document):
    bos = document["tokens"][0]["text"]
    out, _ = run("--json", prompt=f"{bos}{document['prompt']}")
    found = json.loads(out)
    assert [token["id"] for token in found["tokens"]] == [token["id"] for token in document["tokens"]]
    assert found["positions"] == document["positions"]
    assert len(found["notes"]) == 1 and "it is there once" in found["notes"][0]


def test_one_added_token_is_grafted_over_the_rows_that_both_have(copied, folder, run):
    path = copied("sft")
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    rows = model.config.vocab_size
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    for recipient, donor in ((folder / "base", path), (path, folder / "base")):
        table, _ = run("--scheme", "FE", recipient=recipient, donors=[f"sft={donor}"])
        assert "the softmax runs over these" in table and "'<|im_start|>'" in table
        found = json.loads(run("--json", "--scheme", "FE", recipient=recipient, donors=[f"sft={donor}"])[0])
        ids, n_target = asked_ids(found)
        for row, model_path in zip(found["schemes"], (recipient, donor), strict=False):
            # float32 rounding of logits of size 10, through three layers
            assert row["joint_logprob"] == pytest.approx(plain(model_path, ids, n_target, rows), abs=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"unsloth_version": "2025.3.1"},
        {"resid_pdrop": 0.3},
        {"quantization_config": None},
        {"scale_attn_weights": True},
    ],
)
def test_entries_that_compute_nothing_are_accepted(copied, run, document, changes):
    path = copied("sft") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    found = json.loads(run("--json", donors=[f"sft={path.parent}", "lora=lora"])[0])
    assert found["schemes"] == document["schemes"]
    assert all("in what changes no number" in note for note in found["notes"])


def test_what_is_written_oddly_is_told_with_the_cure(refused):
    assert "--target is empty; give a text" in refused(target="")
    line = refused(prompt="Zoe\u0308 starred with", spans={"FE": "Zo\u00eb"}, foil=None)
    assert "the prompt has it in another Unicode form; give FE=0:4" in line


def test_the_table_is_printed_before_the_map_is_computed(run, monkeypatch, capfd):
    from weightgraft.inspection import measure

    def too_long(*_: object) -> None:
        printed.append(capfd.readouterr().out)
        raise KeyboardInterrupt

    printed: list[str] = []
    monkeypatch.setattr(measure, "score_map", too_long)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert "\nSFT " in printed[0] and "most likely next" in printed[0]


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("model.safetensors", "other weights", True),
        ("generation_config.json", "{}", True),
        ("tokenizer_config.json", None, False),
        ("chat_template.jinja", "{{ messages }}", False),
        ("some_new_kind_of.json", "{}", False),
    ],
)
def test_a_donors_tokenizer_is_not_read_where_all_files_but_weights_and_configs_are_the_recipients(
    folder, copied, name, text, same
):
    """What a file that nobody knows may mean to a tokenizer is found out by reading it."""
    donor = copied("base")
    if text is None:
        (donor / name).unlink()
    else:
        (donor / name).write_text(text)
    found = load_tokenizers(folder / "base", {"sft": donor})
    assert (found["sft"] is found["recipient"]) == same
