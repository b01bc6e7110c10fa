"""Claims about how far weights moved: each matrix is in one group and one layer, and the norm is of all its changes there."""

import json
import sys

import pandas as pd
import pytest
import torch
from tiny_models import FAMILY_NAMES, tiny_lora, tiny_model

from stages.analysis.tables import write_csv
from stages.commands import changes
from stages.commands.changes import GROUPS, finetuned, matrices, relative_norms, trained_in, weight_changes
from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from stages.plotting.changes import changes_figure
from stages.reporting.runs import changes_sentences
from weightgraft.errors import UserError


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_matrix_is_in_one_group_and_nothing_else_is(family):
    model = tiny_model(family, seed=0)
    found = [path for _, _, path, _ in matrices(model)]
    named = {
        name.removesuffix(".weight")
        for name, weight in model.named_parameters(remove_duplicate=False)
        if weight.dim() == 2
    }
    assert len(found) == len({*found}) and {*found} == named


def test_a_change_is_told_where_it_is_and_relative_to_the_weights_there():
    pre, sft = tiny_model("llama", seed=0), tiny_model("llama", seed=0)
    with torch.no_grad():
        sft.model.layers[1].self_attn.o_proj.weight.mul_(1.5)
        sft.model.layers[2].mlp.gate_proj.weight.neg_()
    gate, up = (getattr(pre.model.layers[2].mlp, f"{name}_proj").weight.detach() for name in ("gate", "up"))
    found = relative_norms(pre, sft)
    assert {component for component, _ in found} == {*GROUPS.values()}
    wanted = 2 * gate.norm() / torch.sqrt(gate.norm() ** 2 + up.norm() ** 2)
    assert found.pop(("O", 1)) == pytest.approx(0.5) and found.pop(("FFN-UP", 2)) == pytest.approx(
        float(wanted)
    )
    assert {*found.values()} == {0.0} and {layer for name, layer in found if name == "UNEMBED"} == {3}


@pytest.fixture
def root(tmp_path):
    """What is left of trainings: a base, a whole finetuning, an adapter, and those of a model with a longer name."""
    tokenizer = train_tokenizer(["a b c d"] * 4, 300, bos=True)
    base = tiny_model("gpt2", seed=0, vocab_size=len(tokenizer))
    save_model(base, tokenizer, tmp_path / "runs/pretrain/tiny-gpt2")
    folder = tmp_path / "runs/finetune/tiny-gpt2-0"
    save_model(tiny_model("gpt2", seed=1, vocab_size=len(tokenizer)), tokenizer, folder / "fmra")
    save_model(tiny_lora(base, seed=2), tokenizer, folder / "lora")
    (tmp_path / "runs/finetune/tiny-gpt2-new-0/fmra").mkdir(parents=True)
    lock(tmp_path, {"fmra": "b", "lora": "b"})
    return tmp_path


def lock(root, trained: dict[str, str]) -> None:
    """A lock that says from which base each recipe was trained; the one that is there is b."""
    base = "runs/pretrain/tiny-gpt2"
    stages: dict = {"pretrain@tiny-gpt2": {"outs": [{"path": base, "md5": "b"}]}}
    for recipe, md5 in trained.items():
        out = {"path": f"runs/finetune/tiny-gpt2-0/{recipe}", "md5": recipe}
        stages[f"finetune@tiny-gpt2-0-{recipe}"] = {"deps": [{"path": base, "md5": md5}], "outs": [out]}
    (root / "dvc.lock").write_text(json.dumps({"stages": stages}))


def test_what_was_trained_is_read_an_adapter_merged(root):
    assert [(seed, recipe) for seed, recipe, _ in trained_in(root, "tiny-gpt2")] == [(0, "fmra"), (0, "lora")]
    merged = finetuned(root / "runs/pretrain/tiny-gpt2", root / "runs/finetune/tiny-gpt2-0/lora")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    table = weight_changes({"tiny-gpt2": root})
    moved = table[table["relative_norm"] > 0].groupby("recipe")["component"].unique()
    assert {*moved["lora"]} == {"ATTN", "O", "FFN-UP", "FFN-DOWN"} and {*moved["fmra"]} == {*GROUPS.values()}
    figure = changes_figure(table)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    table.to_csv(root / "changes.csv", index=False)
    (said,) = changes_sentences(root)
    inside = table[(table["recipe"] == "fmra") & ~table["component"].isin(["EMBED", "UNEMBED"])]
    most = inside.loc[inside["relative_norm"].idxmax()]
    assert f"(most in {most['component']} of layer {most['layer']})" in said


def test_of_a_model_that_was_not_trained_here_the_table_keeps_what_it_says(root, monkeypatch, capsys):
    out, elsewhere = root / "out", ["smollm2-135m", 0, "fmra", "O", 3, 0.5]
    half = ["tiny-gpt2", 0, "half_a", "O", 3, 0.25]
    write_csv(pd.DataFrame([elsewhere, half], columns=changes.COLUMNS), out / "changes.csv")
    monkeypatch.chdir(root)
    (root / "params.yaml").write_text("study: {models: [tiny-gpt2]}\nreal: {smollm2-135m: {}}\n")
    monkeypatch.setattr(sys, "argv", ["changes", "--out", str(out)])
    changes.main()
    table = pd.read_csv(out / "changes.csv")
    assert table[table["model"] == "smollm2-135m"].to_numpy().tolist() == [elsewhere]
    assert {*table["model"]} == {"smollm2-135m", "tiny-gpt2"}
    assert table[table["recipe"] == "half_a"].to_numpy().tolist() == [half]
    assert {*table.loc[table["model"] == "tiny-gpt2", "recipe"]} == {"fmra", "half_a", "lora"}
    assert capsys.readouterr().out.endswith(": 2 finetunings of this machine\n")


def test_a_finetuning_from_another_base_than_the_one_that_is_there_is_left_out(root):
    lock(root, {"fmra": "b", "lora": "an earlier one"})
    assert [recipe for _, recipe, _ in trained_in(root, "tiny-gpt2")] == ["fmra"]


def test_nothing_trained_is_told(tmp_path):
    with pytest.raises(UserError, match="run `make repro` first"):
        weight_changes({"tiny-gpt2": tmp_path})
    assert pd.DataFrame(trained_in(tmp_path, "tiny-gpt2")).empty
