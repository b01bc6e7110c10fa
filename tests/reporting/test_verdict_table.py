"""The verdict table: one cell a claim and model, with the numbers of the part that decided it; the same in the README."""

import sys

import pandas as pd
import pytest
from made_up_study import REPOSITORY

from stages.analysis.claims import read_claims, side_by_side
from stages.analysis.verdicts import COLUMNS
from stages.commands.readme_table import MARKERS, WORDS, main, with_table
from stages.reporting.page import in_brief
from stages.reporting.tables import MARKDOWN_NOTE, markdown, verdict_table
from weightgraft.errors import UserError, run_main

CLAIMS = {claim.id: claim for claim in side_by_side(read_claims(REPOSITORY / "data/claims.yaml").claims)}
Q, LOGPROB, TOP5 = "r(FE+LT) at least 0.9", "recovered_logprob", "recovered_top5"
NO = None


def verdicts(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


PARTS = (
    ("C1", "tiny-gpt2", 0, "fmra", "headline", Q, LOGPROB, 120, 0.97, 0.95, 0.99, 0.9, NO, NO, "holds", NO),
    ("C1", "tiny-gpt2", 0, "fmra", "headline", Q, TOP5, 120, 0.8, 0.7, 0.85, 0.9, 0.75, 0.01, "fails", NO),
    ("C1", "tiny-gpt2", 0, "fmra", "qa", Q, LOGPROB, 120, 0.88, 0.85, 0.89, 0.9, NO, 0.01, "fails", NO),
    ("C1", "tiny-gpt2", 0, "fmra", "qa", Q, TOP5, 120, 0.99, 0.95, 1.0, 0.9, 0.81, NO, "holds", NO),
    ("C1", "tiny-gpt2", 0, "fmra", "all", "all of it", NO, 120, NO, NO, NO, NO, NO, NO, "fails", "fails"),
    ("C2", "tiny-gpt2", 0, "fmra", "qa", "x|y", LOGPROB, 120, 0.01, 0.0, 0.02, 0.1, NO, NO, "holds", NO),
    ("C2", "tiny-gpt2", 0, "fmra", "all", "all of it", NO, 120, NO, NO, NO, NO, NO, NO, "holds", NO),
    ("C1", "tiny-llama", 0, "fmra", "qa", Q, LOGPROB, 120, 0.95, 0.93, 0.97, 0.9, NO, NO, "holds", NO),
    ("C1", "tiny-llama", 0, "fmra", "all", "all of it", NO, 120, NO, NO, NO, NO, NO, NO, "holds", NO),
)


@pytest.fixture
def table() -> dict:
    return verdict_table(verdicts(*PARTS), CLAIMS)


def test_a_study_that_has_no_claims_setups_has_every_claims_row_and_no_cell():
    table = verdict_table(verdicts(), CLAIMS)
    assert [row["claim"] for row in table["rows"]] == [*CLAIMS] and not table["models"]
    assert in_brief(table) == [("no verdict", [*CLAIMS])] and set(table["counts"].values()) == {0}
    assert all(f"| {claim}: " in markdown(table) for claim in CLAIMS)


def test_a_cell_has_the_numbers_of_the_part_that_decided(table):
    cell = table["rows"][0]["cells"]["tiny-gpt2"]
    assert (cell["verdict"], cell["estimate"], cell["prompt"]) == ("fails", "0.88 [0.85, 0.89]", "qa")
    assert (cell["held"], cell["failed"], cell["parts"]) == ("1", "1", "2")  # top-5 accuracy counts apart
    assert cell["top5_verdict"] == "fails"


def test_the_papers_value_is_that_of_the_same_comparison_and_prompt(table):
    assert table["rows"][0]["cells"]["tiny-gpt2"]["published"] == "0.81"
    assert table["rows"][0]["cells"]["tiny-gpt2"]["top5"] == "0.99"
    assert table["rows"][0]["cells"]["tiny-llama"]["published"] == ""  # of another model there is none


def test_a_claim_without_verdicts_has_a_row_and_no_cells(table):
    assert [row["claim"] for row in table["rows"]] == list(CLAIMS)
    cells = {row["claim"]: row["cells"] for row in table["rows"]}
    assert cells["C2"].keys() == {"tiny-gpt2"} and cells["C3"] == {}


def test_other_forms_of_a_claim_stand_below_it():
    names = [*CLAIMS]
    assert names[:5] == ["C1", "K13", "K39", "K20", "K25"] and names[5:7] == ["K40", "C2"]
    assert len(names) == len(read_claims(REPOSITORY / "data/claims.yaml").claims)


def test_verdicts_are_counted_once_a_claim_and_model(table):
    assert table["counts"] == {"holds": 2, "fails": 1, "undecided": 0, "not shown": 0}
    assert table["top5_counts"] == {"holds": 0, "fails": 1, "undecided": 0, "not shown": 0}
    told = "In this run, 3 verdicts: 2 holds, 1 fails. On top-5 accuracy, 1 verdicts: 1 fails."
    assert markdown(table).splitlines()[0] == told


def test_in_brief_says_on_which_claims_models_differ(table):
    brief = dict(in_brief(table))
    assert brief["models differ"] == ["C1"] and brief["holds in every model"] == ["C2"]
    assert set(brief["no verdict"]) == set(CLAIMS) - {"C1", "C2"} and len(brief) == 3


def test_markdown_has_a_line_a_claim_and_a_cell_a_model(table):
    lines = markdown(table).splitlines()
    assert lines[2] == "| claim | tiny-gpt2 | tiny-llama |" and lines[-1] == MARKDOWN_NOTE
    rows = [line for line in lines if line.startswith(("| C", "| K"))]
    assert len(rows) == len(CLAIMS) and {line.replace("\\|", "").count("|") for line in rows} == {4}
    first = "| **fails** 1/1/2 0.88 [0.85, 0.89]; top-5 fails 0.99, paper 0.81 | **holds** 1/0/1 0.95 [0.93, 0.97] |"
    assert rows[0] == f"| C1: {CLAIMS['C1'].text} {first}"


def test_what_the_readme_says_of_the_results_is_the_reports():
    """Else: python -m stages.commands.readme_table --table results/verdicts.md --readme README.md"""
    readme, table = (
        (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "results/verdicts.md")
    )
    assert with_table(readme, table) == readme


def run_readme(monkeypatch, folder) -> None:
    arguments = ["--table", str(folder / "verdicts.md"), "--readme", str(folder / "README.md")]
    monkeypatch.setattr(sys, "argv", ["readme", *arguments])
    run_main(main)


def test_the_table_replaces_what_was_between_the_markers(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(f"before\n{MARKERS[0]}\nold\n{MARKERS[1]}\nafter\n")
    (tmp_path / "verdicts.md").write_text("| new |\n")
    run_readme(monkeypatch, tmp_path)
    once = (tmp_path / "README.md").read_text()
    assert once == f"before\n{MARKERS[0]}\n\n| new |\n\n{MARKERS[1]}\nafter\n"
    run_readme(monkeypatch, tmp_path)
    assert (tmp_path / "README.md").read_text() == once


def test_a_readme_without_its_markers_is_refused(tmp_path, monkeypatch, capsys):
    for text in ("none", f"{MARKERS[1]} {MARKERS[0]}", f"{MARKERS[0]} {MARKERS[0]} {MARKERS[1]}"):
        with pytest.raises(UserError, match="once each"):
            with_table(text, "x")
    with pytest.raises(SystemExit):
        run_readme(monkeypatch, tmp_path)
    assert "verdicts.md is missing: run write_report first" in capsys.readouterr().err


def test_the_words_go_between_markers_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(
        f"a\n{WORDS[0]}\nold\n{WORDS[1]}\nb\n{MARKERS[0]}\nold\n{MARKERS[1]}\nc\n"
    )
    (tmp_path / "verdicts.md").write_text(f"{WORDS[0]}\n\n- said\n\n{WORDS[1]}\n\n| new |\n")
    for _ in range(2):
        run_readme(monkeypatch, tmp_path)
        told = (tmp_path / "README.md").read_text()
        assert told == (
            f"a\n{WORDS[0]}\n\n- said\n\n{WORDS[1]}\nb\n{MARKERS[0]}\n\n| new |\n\n{MARKERS[1]}\nc\n"
        )
