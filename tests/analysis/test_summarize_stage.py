"""The stage: parquet in, the same csv and json every time, one clear line when something is wrong."""

import json
import sys

import pandas as pd
import pytest

from stages.summarize import main
from weightgraft.errors import run_main


@pytest.fixture
def run_stage(tmp_path, monkeypatch, make_scores):
    """Run the stage on one setup's table in an empty folder; gives the paths of its outputs."""
    monkeypatch.chdir(tmp_path)
    make_scores().to_parquet(tmp_path / "fmra.parquet")

    def run(out: str = "a", setup: str = "fmra", seed: int = 0):
        settings = {"summarize": {"resamples": 200, "seed": seed}, "setups": [setup]}
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        arguments = ["--settings", "settings.json", "--scores", "."]
        arguments += ["--out", f"summary/{out}", "--metrics", f"metrics/{out}.json"]
        monkeypatch.setattr(sys, "argv", ["summarize", *arguments])
        run_main(main)
        return tmp_path / f"summary/{out}/{setup}.csv", tmp_path / f"metrics/{out}.json"

    return run


def test_summary_is_byte_identical(run_stage):
    first, second = run_stage("a"), run_stage("b")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert len(one.read_bytes()) > 500


def test_summary_has_the_promised_columns_and_six_digits(run_stage):
    path, _ = run_stage()
    columns = (
        "model seed setup dataset experiment prompt template_split direction scheme metric "
        "n estimate low high p p_holm"
    )
    assert " ".join(pd.read_csv(path).columns) == columns
    numbers = pd.read_csv(path, dtype=str)[["estimate", "low", "high"]].stack()
    digits = numbers.str.replace(r"e.*|[-.]", "", regex=True).str.lstrip("0")
    assert digits.str.len().max() == 6


def test_seed_comes_from_the_settings(run_stage):
    assert run_stage("a")[0].read_bytes() != run_stage("b", seed=1)[0].read_bytes()


def test_stage_says_in_one_line_what_it_wrote_and_what_matters(run_stage, capsys):
    path, _ = run_stage()
    line = capsys.readouterr().out.strip()
    assert "\n" not in line and "1 setups" in line
    row = pd.read_csv(path).query("scheme == 'FE+LT' and metric == 'recovered_logprob'").iloc[0]
    assert "summary/a" in line and "30 facts" in line and f"{row['estimate']:.3f}" in line


def test_metrics_are_small_and_json(run_stage):
    metrics = json.loads(run_stage()[1].read_text())
    assert set(metrics) == {"fmra"}
    assert set(metrics["fmra"]) == {"headline", "qa"} and len(metrics["fmra"]["qa"]) < 20


def test_bad_input_ends_in_one_line_that_names_the_file(run_stage, tmp_path, make_scores, capsys):
    make_scores().iloc[1:].to_parquet(tmp_path / "holes.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    for name, word in (("holes", "fact000"), ("text", "parquet table"), ("none", "no such")):
        with pytest.raises(SystemExit) as caught:
            run_stage(setup=name)
        error = capsys.readouterr().err.strip().split("\n")[-1]  # after the progress bar
        assert caught.value.code == 1 and error.startswith("error: ")
        assert f"{name}.parquet" in error and word in error
    assert not (tmp_path / "summary").exists()
