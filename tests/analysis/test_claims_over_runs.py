"""Claims over several trainings: they are the stated ones, and one about what is not evaluated is refused in one line."""

from pathlib import Path

import pytest

from stages.analysis.claims import check_claims, read_claims
from weightgraft.errors import UserError

CLAIMS = Path("data/claims.yaml")
STATED = {
    "T1": "slope of r(FE) over log forms above 0, over runs",
    "L1": "at the first point where SFT's top-5 is above .5 by its interval, r(LT) above r(FE), layers only, over runs",
    "A1": "finetuned on articles without a template, C1 and C2 hold: r(FE+LT) at least .9, r((FE+LT)^C) at most .1, over runs",
    "A2": "r(FE), r(LT) below those of the short twin, where both SFTs pass .9 top-5, over runs",
}


def test_the_claims_over_runs_are_those_stated_before_the_runs():
    claims = {claim.id: claim for claim in read_claims(CLAIMS).over_runs}
    assert {name: claim.comparison for name, claim in claims.items()} == STATED
    slope, first = claims["T1"].parts[0], claims["L1"].parts[0]
    assert (slope.study, slope.measure, slope.scheme, slope.than) == ("texts", "slope", "FE", None)
    assert (first.measure, first.scheme, first.than) == ("first_known", "LT | layers", "FE | layers")
    assert all((part.rule, part.threshold) == ("above", 0) for part in (slope, first))
    assert slope.least_runs >= 5 and first.least_runs >= 3


def test_the_claims_about_articles_are_c1_and_c2_of_the_one_model_and_each_pathway_against_the_twin():
    every = read_claims(CLAIMS)
    of = {claim.id: claim.parts for claim in [*every.claims, *every.over_runs]}
    for part, single in zip(of["A1"], [*of["C1"], *of["C2"]], strict=True):
        for key in ("scheme", "rule", "threshold", "prompts", "metrics"):
            assert getattr(part, key) == getattr(single, key)
        assert (part.point, part.than_point) == ("articles", None)
    assert [(part.scheme, part.rule, part.threshold) for part in of["A2"]] == [
        ("FE", "below", 0),
        ("LT", "below", 0),
    ]
    assert all((part.point, part.than_point) == ("articles", "short") for part in of["A2"])
    assert all(part.measure == "known" and part.least_runs == 3 for part in of["A1"] + of["A2"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("first_known, scheme: LT | layers", "first_known, scheme: LT | layer",
         "claim L1: scheme of experiment layers_only 'LT | layer' is not evaluated; did you mean 'LT | layers'"),
        ("- id: L1", "- id: T1", "claim T1 is there twice"),
        ("measure: slope", "measure: slopes", "did you mean 'slope'"),
        ("measure: slope", "measure: known", "claims.yaml: T1: measure known, study articles and point go together"),
        ("measure: slope", "point: short, measure: slope", "claims.yaml: T1: measure known, study articles and point go"),
        ("than_point: short, scheme: FE,", "than_point: shorts, scheme: FE,", "did you mean 'short'"),
    ],
)  # fmt: skip
def test_a_fault_in_a_claim_over_runs_ends_in_one_line(tmp_path, old, new, words):
    text = CLAIMS.read_text()
    assert text.count(old) == 1
    (tmp_path / "claims.yaml").write_text(text.replace(old, new))
    schemes = ["FE", "FE | layers", "LT | layers"]
    evaluated = {"fmra": {"layers_only": (["headline", "qa"], schemes)}}
    with pytest.raises(UserError) as told:
        claims = read_claims(tmp_path / "claims.yaml")
        check_claims(claims.model_copy(update={"claims": [], "published": {}}), evaluated)
    assert words in str(told.value) and "\n" not in str(told.value)
