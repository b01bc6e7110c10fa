"""Claims about what make beyond keeps of earlier runs and of other machines, and what it forgets."""

import json
import sys

import pandas as pd
import pytest
from closure import ROOT

from stages.analysis.tables import write_csv
from stages.commands import beyond, beyond_run
from stages.commands.beyond_results import with_others
from stages.study.params import read_yaml, with_changes
from weightgraft.errors import UserError


def test_a_run_of_some_models_leaves_the_results_of_the_others(tmp_path):
    def of(model: str, value: float) -> pd.DataFrame:
        return pd.DataFrame({"model": [model], "estimate": [value]})

    path = tmp_path / "t.csv"
    write_csv(pd.concat([of("b", 1.0), of("c", 2.0)]), path)
    table = with_others(of("b", 3.0), path, ["c", "b", "a"])
    assert table.to_numpy().tolist() == [["c", 2.0], ["b", 3.0]]
    alone = with_others(of("b", 3.0), tmp_path / "none.csv", ["b"])
    assert alone["estimate"].tolist() == [3.0]
    # params.yaml names c no more
    assert with_others(of("b", 3.0), path, ["b"])["model"].tolist() == ["b"]


def test_tables_of_trainings_that_are_asked_for_no_more_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(beyond_run, "RUNS", tmp_path)
    (tmp_path / "texts").mkdir()
    ends = ("1-1-forms.parquet", "1-4-forms.parquet", "1-4-forms.json", "10-4-forms.parquet")
    for end in ends:
        (tmp_path / f"texts/tiny-gpt2-{end}").touch()
    beyond_run.forget_others("texts", "tiny-gpt2-1-", [beyond_run.Training("1-forms", [], {}, {})])
    left = {path.name for path in (tmp_path / "texts").iterdir()}
    assert left == {f"tiny-gpt2-{end}" for end in (ends[0], ends[3])}


def test_a_recipe_that_trains_an_adapter_is_told_before_any_work(tmp_path, monkeypatch):
    values = with_changes(read_yaml(ROOT / "params.yaml"), {"beyond.frozen_tables.beside": "lora"})
    (tmp_path / "params.yaml").write_text(json.dumps(values))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["beyond"])
    monkeypatch.setattr(beyond, "make_copy", lambda *args, **kwargs: pytest.fail("work has begun"))
    with pytest.raises(UserError, match="'lora', which trains an adapter"):
        beyond.main()
