"""The verdict table: one cell a claim and model, with the numbers of the part that decided it."""

import pandas as pd
import pytest
from made_up_study import REPOSITORY

from stages.analysis.claims import read_claims, side_by_side
from stages.analysis.verdicts import COLUMNS
from stages.reporting.page import in_brief
from stages.reporting.tables import MARKDOWN_NOTE, counts, markdown, of_labels, verdict_table, verdict_tables

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
    assert in_brief(table) == [] and set(counts(table).values()) == {0}
    assert all(f"| {claim}: " in markdown(table) for claim in CLAIMS)


def test_a_cell_has_the_numbers_of_the_part_that_decided(table):
    cell = table["rows"][0]["cells"]["tiny-gpt2"]
    assert (cell["verdict"], cell["estimate"], cell["prompt"]) == ("fails", "0.88 [0.85, 0.89]", "qa")
    assert (cell["held"], cell["failed"], cell["parts"]) == ("1", "1", "2")  # top-5 accuracy counts apart
    assert cell["top5_verdict"] == "fails"


def test_a_part_that_is_left_out_decides_nothing():
    """C1 is undecided by its second part; of C2 no part speaks, so that no number stands beside the verdict."""
    rows = (
        ("C1", "m", 0, "fmra", "headline", Q, LOGPROB, 120, 0.11, 0.1, 0.12, 0.9, NO, NO, "left out", NO),
        ("C1", "m", 0, "fmra", "qa", Q, LOGPROB, 120, 0.9, 0.85, 0.95, 0.9, NO, NO, "undecided", NO),
        ("C1", "m", 0, "fmra", "long", Q, LOGPROB, 120, 0.8, 0.75, 0.89, 0.9, NO, 0.06, "fails", NO),
        ("C1", "m", 0, "fmra", "all", "all of it", NO, 120, NO, NO, NO, NO, NO, NO, "undecided", NO),
        ("C2", "m", 0, "fmra", "qa", Q, LOGPROB, 120, 0.5, 0.4, 0.6, 0.1, NO, NO, "left out", NO),
        ("C2", "m", 0, "fmra", "qa", Q, TOP5, 120, 0.7, 0.6, 0.8, 0.1, NO, NO, "undecided", NO),
        ("C2", "m", 0, "fmra", "all", "all of it", NO, 120, NO, NO, NO, NO, NO, NO, "undecided", "undecided"),
        ("C3", "m", 0, "fmra", "qa", Q, LOGPROB, 120, 0.5, 0.4, 0.6, 0.1, NO, NO, "left out", NO),
        ("C3", "m", 0, "fmra", "long", Q, LOGPROB, 120, 0.8, 0.75, 0.89, 0.9, NO, 0.06, "fails", NO),
        ("C3", "m", 0, "fmra", "all", "all of it", NO, 120, NO, NO, NO, NO, NO, NO, "undecided", NO),
    )
    cells = {row["claim"]: row["cells"].get("m") for row in verdict_table(verdicts(*rows), CLAIMS)["rows"]}
    assert (cells["C1"]["estimate"], cells["C1"]["prompt"]) == ("0.90 [0.85, 0.95]", "qa")
    assert (cells["C2"]["parts"], cells["C2"]["verdict"], cells["C2"]["top5_verdict"]) == (
        "0",
        "undecided",
        "undecided",
    )
    assert not any(cells["C2"][name] for name in ("estimate", "n", "prompt", "comparison", "measure"))
    assert (cells["C3"]["estimate"], cells["C3"]["parts"]) == ("0.80 [0.75, 0.89]", "1")


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
    assert counts(table) == {"holds": 2, "fails": 1, "undecided": 0, "not shown": 0}
    assert counts(table, "top5_verdict") == {"holds": 0, "fails": 1, "undecided": 0, "not shown": 0}
    told = "3 verdicts: 2 holds, 1 fails. On top-5 accuracy, 1 verdicts: 1 fails."
    assert markdown(table).splitlines()[0] == told


def test_in_brief_says_on_which_claims_models_differ(table):
    brief = dict(in_brief(table))
    told = {words: [claim for claim, _ in claims] for words, claims in brief.items()}
    assert told == {
        "hold in every model in which they were judged": ["C2"],
        "come out differently in different models": ["C1"],
    }


def test_markdown_has_a_line_a_claim_and_a_cell_a_model(table):
    lines = markdown(table).splitlines()
    assert lines[2] == "| claim | tiny-gpt2 | tiny-llama |"
    rows = [line for line in lines[4:] if line.startswith("| ")]
    assert [row[2:].partition(": ")[0] for row in rows] == list(CLAIMS)
    assert {line.replace("\\|", "").count("|") for line in rows} == {4}
    first = "| **fails** 1/1/2 0.88 [0.85, 0.89]; top-5 fails 0.99, paper 0.81 | **holds** 1/0/1 0.95 [0.93, 0.97] |"
    assert rows[0] == f"| C1: {CLAIMS['C1'].text} {first}"


def test_single_runs_stand_below_what_leads_and_the_note_below_both(table):
    lead, single = (of_labels(table, [label]) for label in ("tiny-llama", "tiny-gpt2"))
    told = verdict_tables(lead, single)
    assert told.rstrip().endswith(MARKDOWN_NOTE) and told.count(MARKDOWN_NOTE) == 1
    heads = [line for line in told.splitlines() if line.startswith("| claim")]
    assert heads == ["| claim | tiny-llama |", "| claim | tiny-gpt2 |"]
    assert [counts(one)["fails"] for one in (lead, single)] == [0, 1]
    assert "own run alone" in told and "own run alone" not in verdict_tables(table, of_labels(table, []))
