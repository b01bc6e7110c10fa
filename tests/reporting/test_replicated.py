"""Verdicts over runs lead in the report: their signs stand in the matrix, and a single run's among the numbers behind them."""

import re

import pandas as pd
import pytest
from made_up_study import png

from stages.analysis.replication import COLUMNS
from stages.reporting.replication import (
    Runs,
    leading,
    many_runs,
    model_of,
    read_runs,
    standing,
    standing_sentences,
)
from stages.reporting.tables import SIGNS
from weightgraft.errors import UserError

OTHER = {"holds": "fails", "fails": "undecided", "undecided": "holds"}


def over_runs(verdicts: pd.DataFrame, runs: int = 3) -> pd.DataFrame:
    """Verdicts over runs, each another than the single run's."""
    own = verdicts.assign(verdict=verdicts["verdict"].map(OTHER), runs=runs, held=0, failed=0, spread=2.5)
    own = own.assign(nested_low=0.125, nested_high=0.25)
    own.loc[own["prompt"] == "all", ["nested_low", "nested_high", "spread"]] = None
    return own[COLUMNS]


@pytest.fixture(scope="module")
def over(small_study) -> pd.DataFrame:
    return over_runs(pd.read_csv(small_study / "verdicts/tiny-llama-0.csv"))


@pytest.fixture
def with_runs(study_folder, over):
    folder = study_folder / "runs"
    table = over.copy()
    table.loc[(table["claim"] == "C1") & (table["prompt"] == "all"), ["held", "failed"]] = 2, 1
    left_out = (table["claim"] == "C2") & (table["prompt"] != "all")
    table.loc[left_out, ["verdict", "runs"]] = "left out", 0
    table.to_csv(folder / "over_runs.csv", index=False)
    shares = {
        "runs": [3],
        "spread": [2],
        "facts": [100],
        "studies": [2000],
        "t_interval": [0.951],
        "nested_bootstrap": [0.861],
    }
    pd.DataFrame(shares).to_csv(folder / "coverage.csv", index=False)
    (folder / "runs.png").write_bytes(png(1400, 800))
    return study_folder


def test_the_matrix_has_the_signs_over_runs_and_the_numbers_those_of_the_single_run_too(
    with_runs, run_stage, over
):
    text = run_stage(with_runs).read_text(encoding="utf-8")
    heads = re.findall(r'class="cell[^"]*"><span>([^<]*)</span>', text)
    assert heads == ["tiny-llama, 3 runs", "tiny-gpt2 seed 0", "tiny-gpt2 seed 1"]
    single = (
        pd.read_csv(with_runs / "verdicts/tiny-llama-0.csv")
        .query("prompt == 'all'")
        .set_index("claim")["verdict"]
    )
    for claim, verdict in over.query("prompt == 'all'").set_index("claim")["verdict"].items():
        row = re.search(rf'<tr id="{claim}">(.*?)</tr>', text, re.DOTALL)
        assert row and f">{SIGNS[verdict]}</a>" in row[1] and f'aria-label="{claim} ' in row[1]
        behind = text[text.index(f'id="{claim}-numbers"') :].partition("</section>")[0]
        inside = behind[behind.index(f'id="{claim}-tiny-llama"') :].partition("</details>")[0]
        assert single[claim] in re.sub(r"\s+", " ", inside)
    told = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", text))
    assert "of 3 runs the claim holds in 2 and fails in 1" in told and "nested bootstrap [0.12, 0.25]" in told
    assert "None of its parts on log-probability or logits could be judged here" in told
    assert "judged in no run" in told and "of 0 runs" not in told
    assert re.search(r"n = \d+ in each of 3 runs; nested", told) and re.search(
        r"n = \d+ facts in each run", told
    )
    assert "C1 in tiny-llama (holds in 2, fails in 1 of 3 runs)" in told and ".951" in told and ".861" in told


def test_verdicts_md_leads_with_them(with_runs, run_stage):
    run_stage(with_runs)
    text = (with_runs / "verdicts.md").read_text(encoding="utf-8")
    heads = [line for line in text.splitlines() if line.startswith("| claim")]
    assert heads == [
        "| claim | tiny-llama, 3 runs | tiny-gpt2 seed 0 | tiny-gpt2 seed 1 |",
        "| claim | tiny-llama |",
    ]
    assert "(2/1/3 runs)" in text


def test_without_runs_nothing_of_them_is_there(study_folder, run_stage):
    text = run_stage(study_folder).read_text(encoding="utf-8")
    assert 'id="runs"' not in text and "over several trainings" not in text
    assert read_runs(study_folder / "runs") is None


def test_a_model_with_runs_is_led_by_these_and_another_by_its_own(over):
    own = pd.DataFrame({"model": ["tiny-llama", "tiny-gpt2"], "seed": 0, "verdict": "holds"})
    found = leading(own, Runs(over, pd.DataFrame()))
    assert len(found) == len(over) + 1 and (found["model"] == "tiny-gpt2").sum() == 1
    assert leading(own, None) is own
    assert [model_of(label) for label in ("tiny-llama, 3 runs", "tiny-gpt2 seed 1", "x")] == [
        "tiny-llama",
        "tiny-gpt2",
        "x",
    ]


def test_what_stands_in_all_runs_and_what_reverses_is_counted():
    rows = [("C1", 3, 0), ("C2", 0, 3), ("C3", 0, 0), ("C4", 2, 0), ("C5", 2, 1)]
    over = pd.DataFrame(rows, columns=["claim", "held", "failed"]).assign(
        model="m", prompt="all", runs=3, spread=2.0
    )
    over["verdict"] = ["holds", "undecided", "not shown", "undecided", "undecided"]
    found = standing(over)
    assert (found["total"], found["same"], found["reversed"]) == (5, 3, [("C5", "m", 2, 1, 3)])
    assert found["other"] == 1  # C2 fails in each run, and its interval over them decides nothing
    first, second = standing_sentences(Runs(over, pd.DataFrame()))
    assert "Of 5 verdicts" in first and "3 are alike" in first and "1 reverse" in first
    assert "2.00 standard errors" in second and "By their facts alone it would be 0.83" in second
    other = over.assign(model="n", runs=8)
    assert many_runs(over) == "3 runs of m"
    assert many_runs(pd.concat([over, over.assign(model="n")])) == "3 runs each of m and n"
    assert many_runs(pd.concat([over, other])) == "8 runs of n and 3 of m"


def test_a_table_without_a_column_is_named(tmp_path, over):
    over.drop(columns="spread").to_csv(tmp_path / "over_runs.csv", index=False)
    (tmp_path / "coverage.csv").write_text("runs\n")
    with pytest.raises(UserError, match="no column 'spread'"):
        read_runs(tmp_path)
