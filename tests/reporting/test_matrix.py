"""The matrix of signs: a sign for each claim and model judged, which is the table's verdict, and the numbers that it opens."""

import re

import pandas as pd
import pytest
from made_up_study import REPOSITORY

from stages.analysis.claims import read_claims, side_by_side
from stages.reporting.matrix import FURTHER, OWN, anchor, matrix, numbers, questions_of
from stages.reporting.sources import read_notes
from stages.reporting.tables import SIGNS, verdict_table

CLAIMS = {claim.id: claim for claim in side_by_side(read_claims(REPOSITORY / "data/claims.yaml").claims)}
NOTES = REPOSITORY / "data/report_notes.yaml"


@pytest.fixture(scope="module")
def text(whole_study) -> str:
    return (whole_study / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def judged(whole_study) -> pd.DataFrame:
    tables = [pd.read_csv(path) for path in sorted((whole_study / "verdicts").iterdir())]
    verdicts = pd.concat(tables, ignore_index=True)
    several = verdicts.groupby("model")["seed"].transform("nunique") > 1
    seeds = " seed " + verdicts["seed"].astype(str)
    return verdicts.assign(label=verdicts["model"] + seeds.where(several, ""))


def signs_in(text: str) -> dict[tuple[str, str], tuple[str, str, str]]:
    """(claim, model) -> (the words, the sign, what it opens), as they stand in the page."""
    found = {}
    heads = re.findall(r'class="cell[^"]*"><span>([^<]*)</span>', text)
    rows = re.findall(r'<tr id="([A-Z]\d+)">(.*?)</tr>', text, re.DOTALL)
    for claim, row in rows:
        cells = re.findall(r"<td(.*?)</td>", row, re.DOTALL)
        assert len(cells) == len(heads)
        for model, cell in zip(heads, cells, strict=True):
            if sign := re.search(r'href="#([^"]*)" aria-label="([^"]*)".*>([^<]*)</a>', cell):
                opens, label, glyph = sign.groups()
                found[claim, model] = (label, glyph, opens)
    assert len(rows) == len({claim for claim, _ in rows})
    return found


def test_there_is_one_sign_for_each_claim_and_model_judged_and_it_is_the_verdict(text, judged):
    whole = judged[judged["prompt"] == "all"].set_index(["claim", "label"])["verdict"]
    signs = signs_in(text)
    assert signs.keys() == {*whole.index} and len(signs) > 100
    for (claim, model), (label, glyph, _) in signs.items():
        verdict = whole[claim, model]
        assert glyph == SIGNS[verdict] and verdict in label and label.startswith(f"{claim} ")
        assert label.endswith(f" in {model}")


def test_every_claim_has_a_row_though_it_was_judged_nowhere(text):
    assert sorted(re.findall(r'<tr id="([A-Z]\d+)">', text)) == sorted(CLAIMS)


def test_signs_are_told_apart_without_colour():
    assert len({*SIGNS.values()}) == len(SIGNS) and all(len(sign) == 1 for sign in SIGNS.values())


def test_a_sign_opens_its_claims_numbers_in_its_model(text, judged):
    """The claim in words, its formula, parts held and failed, and of every part estimate, interval, n and the paper's value."""
    signs = signs_in(text)
    assert len({opens for *_, opens in signs.values()}) == len(signs)
    panels = dict(re.findall(r'<div class="inside" id="([^"]*)">(.*?)</div>', text, re.DOTALL))
    parts = judged[judged["prompt"] != "all"]
    assert {opens for *_, opens in signs.values()} == panels.keys()
    for claim, model in (("C1", "tiny-llama"), ("K31", "tiny-gemma"), ("C3", "tiny-gpt2 seed 1")):
        inside = panels[signs[claim, model][2]]
        own = parts[(parts["claim"] == claim) & (parts["label"] == model)]
        assert inside.count("<tr>") == len(own) + 1
        for row in own.itertuples():
            wanted = f"{row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}]".replace("-0.00", "0.00")
            assert wanted in inside and f"n = {row.n}" in inside
        published = own["published"].dropna()
        assert all(f"the paper's value {value:.2f}" in inside for value in published)
        leading = own[own["metric"] != "recovered_top5"]["verdict"]
        counts = [int((leading == verdict).sum()) for verdict in ("holds", "fails")]
        assert re.search(rf"{len(leading)} parts? here: {counts[0]} holds?, {counts[1]} fails?\.", inside)
        section = text[text.index(f'id="{claim}-numbers"') :].partition("</section>")[0]
        assert f"{claim}: " in section and "What is compared: " in section and inside in section


def test_what_the_signs_mean_is_said_before_them(text):
    legend = text[text.index('<dl class="legend">') :].partition("</dl>")[0]
    for verdict in ("holds", "fails", "undecided", "not shown"):
        assert f"{SIGNS[verdict]} {verdict}</span>" in legend
    assert text.index('class="legend"') < text.index("Thresholds.") < text.index('class="matrix"')


def table() -> dict:
    columns = [
        "claim",
        "model",
        "seed",
        "setup",
        "prompt",
        "comparison",
        "metric",
        "n",
        "estimate",
        "low",
        "high",
    ]
    columns += ["threshold", "published", "p_holm", "verdict", "top5_verdict"]
    return verdict_table(pd.DataFrame(columns=columns), CLAIMS)


def test_the_papers_claims_come_first_and_each_claim_once():
    questions = read_notes(NOTES, CLAIMS)["questions"]
    blocks = matrix(table(), CLAIMS, questions)["blocks"]
    rows = [[row["claim"] for group in block["groups"] for row in group["rows"]] for block in blocks]
    assert [block["title"] for block in blocks] == ["The paper's claims", OWN]
    assert rows[0] == [f"C{i}" for i in (*range(1, 13), 14, 13, 15)]
    assert sorted(rows[0] + rows[1]) == sorted(CLAIMS) and "C1" not in rows[1]


def test_a_claim_stands_under_its_own_question_or_that_of_the_claim_it_is_a_form_of_or_that_of_its_letter():
    questions = [{"question": "where?", "claims": ["C1"]}, {"question": "ours?", "claims": ["K"]}]
    asked = questions_of(CLAIMS, questions)
    assert asked["C1"] == asked["K13"] == asked["K39"] == "where?"  # K39 is a form of K13, and that of C1
    assert asked["K1"] == "ours?" and asked["C2"] == FURTHER
    assert [*read_notes(NOTES, CLAIMS)["questions"][0]] == ["question", "claims"]


def test_all_claims_of_the_repository_but_new_ones_have_a_question():
    asked = questions_of(CLAIMS, read_notes(NOTES, CLAIMS)["questions"])
    assert not [name for name in asked if name[0] in "CK" and asked[name] == FURTHER]


def test_a_study_without_verdicts_has_an_empty_matrix_and_no_numbers():
    found = matrix(table(), CLAIMS, [])
    assert found["models"] == [] and numbers(table()) == []


def test_names_of_models_make_good_ids():
    assert anchor("C1", "tiny-gpt2 seed 0") == "C1-tiny-gpt2-seed-0" and anchor("K2", 'a b"c') == "K2-a-b-c"
