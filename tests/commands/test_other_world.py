"""Claims about `make world`: what changes sides is noted for the report, once a world, and the notes keep their comments."""

import sys

import numpy as np
import pandas as pd
import pytest

from stages.analysis.verdicts import COLUMNS
from stages.commands.other_world import main
from stages.study.params import read_yaml
from weightgraft.errors import run_main


def verdicts(*words: str) -> pd.DataFrame:
    rows = [
        {"claim": f"C{i}", "model": "m", "seed": 0, "prompt": "all", "verdict": word}
        for i, word in enumerate(words, 1)
    ]
    return pd.DataFrame(rows).reindex(columns=COLUMNS).replace({None: np.nan})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Compare results/verdicts with another world's verdicts, in a folder of its own; gives the notes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("generate_facts: {seed: 0}\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/report_notes.yaml").write_text("# a comment\nother_worlds: []\n")
    for folder in ("results/verdicts", "there"):
        (tmp_path / folder).mkdir(parents=True)

    def compare(here: tuple, there: tuple, seed: int = 1) -> dict:
        verdicts(*here).to_csv("results/verdicts/m-0.csv", index=False)
        verdicts(*there).to_csv("there/m-0.csv", index=False)
        monkeypatch.setattr(sys, "argv", ["other_world", f"--seed={seed}", "--verdicts=there"])
        run_main(main)
        assert "# a comment" in (tmp_path / "data/report_notes.yaml").read_text()
        return read_yaml(tmp_path / "data/report_notes.yaml")

    return compare


def test_verdicts_that_change_sides_in_another_world_are_noted(run):
    found = run(("holds", "holds", "undecided"), ("fails", "holds", "fails"))
    changed = [{"claim": "C1", "model": "m", "here": "holds", "there": "fails"}]
    assert found["other_worlds"] == [{"seed": 1, "changed": changed}]
    assert run(("holds",), ("holds",))["other_worlds"] == [{"seed": 1, "changed": []}]
    assert [world["seed"] for world in run(("holds",), ("holds",), seed=2)["other_worlds"]] == [1, 2]


def test_the_same_world_is_refused_in_one_line(run, capsys):
    with pytest.raises(SystemExit):
        run(("holds",), ("holds",), seed=0)
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: --seed is 0") and "\n" not in error
