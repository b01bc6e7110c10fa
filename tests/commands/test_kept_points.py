"""Claims about models kept on the way: in order, the last one the recipe's own, also after a kill; and about frozen tables."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model
from transformers import TrainerCallback

from stages.commands import kept_points
from stages.commands.kept_points import finetune_settings, shares_of, train_keeping, updates_of
from stages.finetune import freeze
from stages.modeling.models import build_model, load_model, set_up
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import TextTrainer, train

TEXTS = [f"{who} stars with {other}." for who, other in zip("ABCDEFGH", "STUVWXYZ", strict=True)] * 2
ARCHITECTURE = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
SETTINGS = {
    "num_train_epochs": 5,
    "batch_size": 8,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "warmup_steps": 1,
}
TOKENIZER = train_tokenizer(TEXTS, 300, bos=False)
UPDATES = updates_of(SETTINGS, len(TEXTS))
SHARES = shares_of(UPDATES, 5)


def started():
    set_up(0, threads=1)
    return build_model("gpt2", ARCHITECTURE, TOKENIZER)


def kept(checkpoint: Path) -> list[dict[str, torch.Tensor]]:
    at = {done: checkpoint / f"points/{done}" for done in SHARES}
    train_keeping(started(), TOKENIZER, TEXTS, SETTINGS, "cpu", 0, checkpoint, "x", at)
    return [load_model(folder)[0].state_dict() for folder in at.values()]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def points(tmp_path_factory) -> list[dict[str, torch.Tensor]]:
    return kept(tmp_path_factory.mktemp("whole"))


def test_the_last_point_is_the_model_that_the_stage_makes_and_each_before_it_another(points, tmp_path):
    model = started()
    train(model, TOKENIZER, TEXTS, SETTINGS, "cpu", 0, tmp_path, "x")
    assert same(points[-1], model.state_dict())
    assert SHARES == [2, 4, 6, 8, 10] and not any(same(one, other) for one, other in pairwise(points))


def test_an_update_in_several_steps_has_as_many_texts_as_one_in_a_single_step(tmp_path):
    """As the stage's: all points are kept, and the last one is the stage's model."""
    settings, at = (
        SETTINGS | {"gradient_accumulation_steps": 2},
        {done: tmp_path / f"{done}" for done in SHARES},
    )
    train_keeping(started(), TOKENIZER, TEXTS, settings, "cpu", 0, tmp_path / "kept", "x", at)
    model = started()
    train(model, TOKENIZER, TEXTS, settings, "cpu", 0, tmp_path / "stage", "x")
    assert all(folder.is_dir() for folder in at.values())
    assert same(load_model(at[SHARES[-1]])[0].state_dict(), model.state_dict())


def test_points_lie_on_the_way_in_the_order_of_their_updates(points):
    """The learning rate falls to 0: each point is nearer to the end than the one before."""
    end = points[-1]["transformer.wte.weight"]
    distances = [float((point["transformer.wte.weight"] - end).norm()) for point in points]
    assert distances == sorted(distances, reverse=True) and distances[0] > 2 * distances[-2] > 0


def test_a_killed_run_goes_on_to_the_same_points(points, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    class Kill(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 7:
                raise Killed

    class Fragile(TextTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.add_callback(Kill())

    with monkeypatch.context() as patched:
        patched.setattr(kept_points, "TextTrainer", Fragile)
        with pytest.raises(Killed):
            kept(tmp_path)
    assert all(same(one, other) for one, other in zip(kept(tmp_path), points, strict=True))


def test_a_recipes_factors_multiply_the_models_own_and_leave_them_as_they_are():
    recipe = {"learning_rate_factor": 0.5, "epochs_factor": 2, "weight_decay": 0.1}
    found = finetune_settings(SETTINGS, recipe)
    assert (found["learning_rate"], found["num_train_epochs"], found["weight_decay"]) == (0.005, 10, 0.1)
    assert SETTINGS["num_train_epochs"] == 5 and updates_of(found, len(TEXTS)) == 2 * UPDATES


@pytest.mark.parametrize(("family", "tables"), [("gpt2", 2), ("gpt_neox", 2), ("gemma", 1)])
def test_no_frozen_table_is_trained_and_all_else_is(family, tables):
    """gpt2: tied, and a table of places; gpt_neox: untied; gemma: tied."""
    model = tiny_model(family, seed=0)
    freeze(model, ["embed", "unembed"])
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert len(frozen) == tables and all("layers" not in name and ".h." not in name for name in frozen)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = torch.arange(12).reshape(2, 6)
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed and not changed & frozen
    assert torch.equal(model.get_output_embeddings().weight, before.get("lm_head.weight", before.get("embed_out.weight",
        model.get_input_embeddings().weight)))  # fmt: skip
