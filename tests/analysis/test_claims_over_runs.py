"""Claims over several trainings: they are the stated ones, and one about what is not evaluated is refused in one line."""

from pathlib import Path

import pytest

from stages.analysis.claims import check_claims, read_claims
from weightgraft.errors import UserError

CLAIMS = Path("data/claims.yaml")
STATED = {
    "T1": "slope of r(FE) over log forms above 0, over runs",
    "L1": "at the first point where SFT's top-5 is above .5 by its interval, r(LT) above r(FE), layers only, over runs",
}


def test_the_claims_over_runs_are_those_stated_before_the_runs():
    claims = {claim.id: claim for claim in read_claims(CLAIMS).over_runs}
    assert {name: claim.comparison for name, claim in claims.items()} == STATED
    slope, first = claims["T1"].parts[0], claims["L1"].parts[0]
    assert (slope.study, slope.measure, slope.scheme, slope.than) == ("texts", "slope", "FE", None)
    assert (first.measure, first.scheme, first.than) == ("first_known", "LT | layers", "FE | layers")
    assert all((part.rule, part.threshold) == ("above", 0) for part in (slope, first))
    assert slope.least_runs >= 5 and first.least_runs >= 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("first_known, scheme: LT | layers", "first_known, scheme: LT | layer",
         "claim L1: scheme of experiment layers_only 'LT | layer' is not evaluated; did you mean 'LT | layers'"),
        ("- id: L1", "- id: T1", "claim T1 is there twice"),
        ("measure: slope", "measure: slopes", "did you mean 'slope'"),
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
