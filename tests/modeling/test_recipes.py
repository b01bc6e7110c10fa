"""Claims about recipes: LoRA, gentle and plain finetuning go through the finetune stage as params.yaml describes them."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from stages import finetune
from stages.frame.rows import write_jsonl
from stages.modeling import training
from stages.modeling.models import build_model, load_model, save_model, set_up
from stages.modeling.tokens import train_tokenizer
from stages.study.settings import write_settings

TEXTS = [f"{who} stars with {other}." for who, other in zip("ABCDEFGH", "STUVWXYZ", strict=True)]
PLAIN = {
    "dataset": "fmra",
    "directions": ["ab"],
    "halves": ["a", "b"],
    "learning_rate_factor": 1,
    "epochs_factor": 1,
    "weight_decay": None,
    "base_text_share": 0,
    "lora": None,
}
RECIPES = {
    "plain": PLAIN,
    "gentle": PLAIN
    | {"learning_rate_factor": 0.1, "epochs_factor": 3, "weight_decay": 0.0, "base_text_share": 0.5},
    "frozen": PLAIN | {"frozen": ["embed", "unembed"]},
    "lora": PLAIN | {"lora": {"r": 2, "lora_alpha": 4}},
}
SIZES = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
FINETUNE = {
    "num_train_epochs": 1,
    "batch_size": 4,
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "warmup_steps": 1,
}


@pytest.fixture
def study(tmp_path, monkeypatch) -> Path:
    """A folder with a base model, facts and settings, as the finetune stage finds them."""
    monkeypatch.chdir(tmp_path)
    set_up(0, threads=1)
    tokenizer = train_tokenizer(TEXTS, 300, bos=False)
    base = build_model("gpt2", SIZES, tokenizer)
    save_model(base, tokenizer, tmp_path / "base")
    rows = [{"direction": "ab", "half": "ab"[i % 2], "text": text} for i, text in enumerate(TEXTS)]
    write_jsonl(tmp_path / "facts/texts/fmra.jsonl", rows)
    write_jsonl(tmp_path / "facts/texts/base_all.jsonl", [row | {"text": "base text"} for row in rows])
    model = {"threads": 1, "device": "cpu", "dtype": "float32", "base_forms": "all", "finetune": FINETUNE}
    files = {f"{name}.json": {"model": model, "recipe": recipe} for name, recipe in RECIPES.items()}
    write_settings(tmp_path / "settings", files)
    return tmp_path


def finetuned(study: Path, recipe: str, monkeypatch) -> tuple[Path, dict]:
    """Run the stage; the folder it wrote and the arguments it trained with."""
    used: dict = {}
    arguments = training.TrainingArguments
    monkeypatch.setattr(training, "TrainingArguments", lambda **kw: used.update(kw) or arguments(**kw))
    out = study / f"runs/{recipe}"
    options = {"settings": f"settings/{recipe}.json", "seed": 0, "base": "base", "facts": "facts"}
    options |= {"out": f"runs/{recipe}", "metrics": f"metrics/{recipe}.json"}
    monkeypatch.setattr(sys, "argv", ["finetune", *(f"--{key}={value}" for key, value in options.items())])
    finetune.main()
    assert json.loads((study / f"metrics/{recipe}.json").read_text())["loss"] > 0
    assert not (study / f".ckpt/runs/{recipe}").exists()
    return out, used


def test_a_plain_recipe_trains_every_weight_with_the_models_own_settings(study, monkeypatch):
    out, used = finetuned(study, "plain", monkeypatch)
    assert used["learning_rate"] == 0.01 and used["weight_decay"] == 0.1
    before, after = load_model(study / "base")[0].state_dict(), load_model(out)[0].state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before if "wpe" not in name)


@pytest.mark.parametrize("tied", [True, False])
def test_frozen_tables_stay_the_bases_and_all_else_is_trained(study, monkeypatch, tied):
    if not tied:
        _, tokenizer = load_model(study / "base")
        untied = build_model("gpt2", SIZES | {"tie_word_embeddings": False}, tokenizer)
        save_model(untied, tokenizer, study / "base")
    out, _ = finetuned(study, "frozen", monkeypatch)
    before, after = load_model(study / "base")[0].state_dict(), load_model(out)[0].state_dict()
    tables = {"transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight"}
    assert {name for name in before if torch.equal(before[name], after[name])} == tables


def test_a_gentle_recipe_is_slower_and_longer_without_decay_and_reads_base_text(study, monkeypatch):
    texts: list[str] = []
    original = training.tokenize_texts
    monkeypatch.setattr(
        training, "tokenize_texts", lambda t, tokenizer: texts.extend(t) or original(t, tokenizer)
    )
    _, used = finetuned(study, "gentle", monkeypatch)
    assert used["learning_rate"] == pytest.approx(0.001) and used["weight_decay"] == 0
    assert used["num_train_epochs"] == 3
    assert sorted(texts) == sorted(TEXTS + ["base text"] * len(TEXTS))


def test_a_kill_after_the_model_is_saved_costs_no_update(study, monkeypatch):
    """The checkpoints go last: DVC removes what a stage left unfinished, the saved model with it."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(finetune, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            finetuned(study, "plain", patched)
    shutil.rmtree(study / "runs/plain")
    steps: list[int] = []
    step = training.Trainer.training_step
    monkeypatch.setattr(training.Trainer, "training_step", lambda *args: steps.append(1) or step(*args))
    finetuned(study, "plain", monkeypatch)
    assert not steps


def test_a_lora_recipe_saves_an_adapter_that_changes_the_base(study, monkeypatch):
    out, _ = finetuned(study, "lora", monkeypatch)
    assert (out / "adapter_model.safetensors").exists() and not (out / "model.safetensors").exists()
    base, _ = load_model(study / "base")
    tokens = torch.arange(5)[None]
    before = base(input_ids=tokens).logits
    adapted = PeftModel.from_pretrained(base, str(out)).eval()
    assert not torch.allclose(before, adapted(input_ids=tokens).logits)
