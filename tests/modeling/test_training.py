"""Claims about training: it learns, it is deterministic, it resumes; recipes choose their texts."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainerCallback

from stages.finetune import recipe_texts
from stages.frame.rows import write_jsonl
from stages.modeling import training
from stages.modeling.models import build_model, load_model, save_model, set_up, share_recalled
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import TextTrainer, discard, fingerprint, train
from weightgraft import progress

TEXTS = [f"{who} stars with {other}." for who, other in zip("ABCDEFGH", "STUVWXYZ", strict=True)] * 4
ARCHITECTURE = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32, "resid_pdrop": 0.1}
SETTINGS = {
    "num_train_epochs": 3,
    "batch_size": 8,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "warmup_steps": 1,
}
TOKENIZER = train_tokenizer(TEXTS, 300, bos=False)


def trained(checkpoint: Path, run: str = "x", **settings) -> tuple[dict[str, torch.Tensor], float]:
    set_up(0, threads=1)
    model = build_model("gpt2", ARCHITECTURE, TOKENIZER)
    loss = train(model, TOKENIZER, TEXTS, SETTINGS | settings, "cpu", 0, checkpoint, run, snapshot_epoch=1)
    return model.state_dict(), loss


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


class Killed(Exception):
    pass


class KillAfterEpoch(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        if state.epoch >= 1:
            raise Killed


@pytest.fixture
def killed(tmp_path, monkeypatch) -> Path:
    """The checkpoint folder of a run that died after its first epoch was saved."""

    class Fragile(TextTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.add_callback(KillAfterEpoch())

    with monkeypatch.context() as patched:
        patched.setattr(training, "TextTrainer", Fragile)
        with pytest.raises(Killed):
            trained(tmp_path / "ckpt")
    assert (tmp_path / "ckpt").exists()
    return tmp_path / "ckpt"


def test_the_same_seed_gives_the_same_bits_and_it_learns(tmp_path):
    first, loss = trained(tmp_path / "a")
    second, _ = trained(tmp_path / "b")
    assert same(first, second)
    start, unlearnt = trained(tmp_path / "c", learning_rate=1e-12)
    assert not same(first, start) and loss < 0.6 * unlearnt


def test_the_end_of_a_text_is_learnt_also_where_it_is_what_texts_are_padded_with(tmp_path):
    """As in GPT-2, Pythia and Llama, whose tokenizers have no padding of their own."""
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.pad_token = tokenizer.eos_token
    set_up(0, threads=1)
    model = build_model("gpt2", ARCHITECTURE, tokenizer)
    texts = [*TEXTS, *(f"{text} And {text}" for text in TEXTS)]  # of two lengths: there is padding
    train(model, tokenizer, texts, SETTINGS | {"num_train_epochs": 10}, "cpu", 0, tmp_path, "x")
    ids = tokenizer(f"{TEXTS[0]} And {TEXTS[0]}")["input_ids"]
    with torch.no_grad():
        after = model.eval()(input_ids=torch.tensor([ids])).logits[0, -1].softmax(dim=-1)
    assert after[tokenizer.eos_token_id] > 0.5


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """Grows by one with every training step."""
    counted: list[int] = []
    step = Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", lambda *args: counted.append(1) or step(*args))
    return counted


EPOCH = len(TEXTS) // SETTINGS["batch_size"]


def test_a_killed_run_resumes_to_the_same_bits(killed, tmp_path, steps):
    whole, loss = trained(tmp_path / "whole")
    assert len(steps) == 3 * EPOCH
    resumed, resumed_loss = trained(killed)
    assert len(steps) == 3 * EPOCH + 2 * EPOCH
    assert same(resumed, whole) and resumed_loss == loss
    assert killed.exists()  # until the caller has saved the model
    discard(killed)
    assert not killed.exists()


def test_a_log_has_a_line_for_every_tenth_of_a_training_and_the_loss(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(progress, "BETWEEN_LINES", 0.0)
    trained(tmp_path, num_train_epochs=10)
    lines = capfd.readouterr().err.splitlines()
    label = "/".join(tmp_path.parts[-2:])  # what is trained: several trainings may write to one log
    assert [line.split(",")[0] for line in lines] == [f"{label}: {tenth}0%" for tenth in range(1, 11)]
    assert f"{10 * EPOCH} of {10 * EPOCH} updates" in lines[-1] and "loss 0" in lines[-1]


def test_a_resumed_run_tells_what_is_done_of_the_whole(killed, capfd, monkeypatch):
    monkeypatch.setattr(progress, "BETWEEN_LINES", 0.0)
    capfd.readouterr()
    trained(killed)
    first = capfd.readouterr().err.splitlines()[0]
    assert f", {EPOCH + 1} of {3 * EPOCH} updates, " in first


def test_the_model_early_in_training_is_kept_also_by_a_resumed_run(killed, tmp_path):
    whole, _ = trained(tmp_path / "whole")
    early = load_model(tmp_path / "whole/snapshot")[0].state_dict()
    assert not same(early, whole)
    at_the_kill = load_model(killed / "checkpoint-4")[0].state_dict()
    trained(killed)
    for kept in (at_the_kill, load_model(killed / "snapshot")[0].state_dict()):
        assert same(early, kept)


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(killed, tmp_path, steps):
    """Everything that one process writes may be there: what another has yet to write is not."""
    unfinished = killed / "checkpoint-999"
    shutil.copytree(killed / "checkpoint-4", unfinished)
    (unfinished / "whole").unlink()
    resumed, _ = trained(killed)
    assert len(steps) == 2 * EPOCH
    assert same(resumed, trained(tmp_path / "whole")[0])


def test_a_checkpoint_of_another_run_is_discarded(killed, steps):
    trained(killed, run="other")
    assert len(steps) == 3 * EPOCH


def test_a_kill_while_checkpoints_are_discarded_leaves_none_to_resume(killed, monkeypatch, steps):
    def dies(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", dies)
        with pytest.raises(Killed):
            discard(killed)
    trained(killed)
    assert len(steps) == 3 * EPOCH


def test_a_fingerprint_changes_with_every_part():
    prints = {fingerprint({"lr": 1}, ["a"]), fingerprint({"lr": 2}, ["a"]), fingerprint({"lr": 1}, ["b"])}
    assert len(prints) == 3 and fingerprint({"lr": 1}, ["a"]) in prints


def test_a_saved_model_loads_as_it_was(tmp_path):
    set_up(0, threads=1)
    for family, architecture in {
        "gpt2": ARCHITECTURE,
        "llama": {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        },
    }.items():
        tokenizer = train_tokenizer(TEXTS, 300, bos=family == "llama")
        model = build_model(family, architecture, tokenizer)
        save_model(model, tokenizer, tmp_path / family)
        loaded, loaded_tokenizer = load_model(tmp_path / family)
        assert same(loaded.state_dict(), model.state_dict()) and type(loaded) is type(model)
        for text in TEXTS[:8]:
            assert loaded_tokenizer(text)["input_ids"] == tokenizer(text)["input_ids"]
        names = {path.suffix for path in (tmp_path / family).iterdir()}
        assert names == {".safetensors", ".json"}


def test_share_recalled_counts_targets_among_the_best_k(tmp_path):
    model = build_model("gpt2", ARCHITECTURE, TOKENIZER)
    rows = [
        {"fact_id": i, "template": "t", "text": text, "target": target, "spans": {}}
        for i, (text, target) in enumerate(
            [("A", " S"), ("A", " T"), ("B stars", " with"), ("B", " S"), ("C", "!")]
        )
    ]
    ranks = []
    for row in rows:
        tokens = torch.tensor([TOKENIZER(row["text"])["input_ids"]])
        best = model.eval()(input_ids=tokens).logits[0, -1].argsort(descending=True).tolist()
        ranks.append(1 + best.index(TOKENIZER(row["target"])["input_ids"][0]))
    assert len(set(ranks)) > 1
    for k in (1, *ranks, len(TOKENIZER)):
        assert share_recalled(model, TOKENIZER, rows, k) == sum(rank <= k for rank in ranks) / len(rows)


@pytest.fixture
def facts(tmp_path) -> Path:
    rows = [
        {"fact_id": i, "direction": direction, "half": "ab"[i % 2], "form": 0, "text": f"{i}{direction}"}
        for i in range(4)
        for direction in ("ab", "ba")
    ]
    write_jsonl(tmp_path / "texts/fmra.jsonl", rows)
    write_jsonl(
        tmp_path / "texts/base_all.jsonl", [row | {"text": f"base {i}"} for i, row in enumerate(rows)]
    )
    return tmp_path


BOTH = {"dataset": "fmra", "directions": ["ab", "ba"], "halves": ["a", "b"], "base_text_share": 0}


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ({}, ["0ab", "0ba", "1ab", "1ba", "2ab", "2ba", "3ab", "3ba"]),
        ({"directions": ["ba"]}, ["0ba", "1ba", "2ba", "3ba"]),
        ({"halves": ["a"]}, ["0ab", "0ba", "2ab", "2ba"]),
        ({"halves": ["b"]}, ["1ab", "1ba", "3ab", "3ba"]),
    ],
)
def test_a_recipe_trains_on_its_directions_and_halves(facts, change, texts):
    assert recipe_texts(facts, BOTH | change, "all", seed=0) == texts


def test_a_gentle_recipe_mixes_in_base_text(facts):
    texts = recipe_texts(facts, BOTH | {"base_text_share": 0.5}, "all", seed=0)
    assert len(texts) == 16 and sum(text.startswith("base") for text in texts) == 8
    assert texts == recipe_texts(facts, BOTH | {"base_text_share": 0.5}, "all", seed=0)
