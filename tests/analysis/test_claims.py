"""The claims are the paper's, word for word, and a claim about what was not run is refused in one line."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_scores import claims_of

from stages.analysis.claims import check_claims, read_claims
from stages.check_params import check, check_architecture, evaluated_for
from stages.study.faults import parsed
from stages.study.params import read_yaml
from stages.study.schema import Params
from weightgraft.errors import UserError

CLAIMS = Path("data/claims.yaml")
# The paper's claims and their comparisons, as they were stated before the study was run.
STATED = """
C1|enrichment and recall together suffice
  r(FE+LT) at least .9 (headline, qa)
C2|nothing else matters
  r((FE+LT)^C) at most .1
C3|each pathway alone does something
  r(FE) and r(LT) above 0, and above size-matched random positions
C4|sometimes both are needed
  r(FE+LT) above max(r(FE), r(LT))
C5|families differ
  r(LT) above r(FE) in Llama and Gemma; below in GPT-2; Pythia: not above
C6|the movie title alone is no pathway, but helps recall
  r(M) at most .1; r(M+LT) above r(LT) (movie_title)
C7|recall needs no relation-specific attention
  at LT: r(O+FFN) about r(ATTN+O+FFN)
C8|the output projection matters
  at LT: r(FFN) below r(O+FFN)
C9|attention and O without FFN do little
  at LT: r(ATTN+O) and r(O) at most .2
C10|recall sits in the last layers
  at LT: r(O+FFN, last quarter) at least half of r(O+FFN, second half), Llama and Gemma
C11|at FE, attention of the *task* is what counts
  hybrid: FE ATTN above no FE; FE FFN about no FE; in the known-form and in the new-form world
C12|the unembedding does not change the picture
  rank correlation of schemes between PRE's and SFT's unembedding at least .9
C13|gentle finetuning: same pattern, weaker single pathways
  C1 and C2 hold; r(FE), r(LT) below those of the main recipe
C14|patching cannot tell the pathways apart
  patching SFT's residual at LT in a late layer recovers at least .9 even where r(LT) is below .5
C15|the datasets agree
  order of the eight schemes has rank correlation at least .8 between FMFA, FMRA, RMRA-shuffled
"""
EVALUATED = {
    "fmra": {"positions": (["headline", "qa"], ["PRE", "SFT", "FE", "O+FFN@LT[second_half]"])},
    "maps": {
        "heads": (
            ["qa"],
            ["PRE", "SFT", *(f"O{{{head}}}@LT[{layer}]" for head in range(9) for layer in range(9))],
        )
    },
}


def test_the_claims_of_the_paper_are_there_as_they_were_stated():
    lines = STATED.strip().splitlines()
    stated = [(*head.split("|"), words.strip()) for head, words in zip(lines[::2], lines[1::2], strict=True)]
    assert len(stated) == 15
    claims = read_claims(CLAIMS).claims
    assert [(claim.id, claim.text, claim.comparison) for claim in claims if claim.id[0] == "C"] == stated
    ours = [claim.id for claim in claims if claim.id[0] != "C"]
    beyond = ["N1", "N2", "N3", "W1", "W2", "D1", "D2", "I1", "O1"]
    assert ours == [*(f"K{i}" for i in range(1, len(ours) - len(beyond) + 1)), *beyond]


def test_thresholds_and_families_are_the_stated_ones():
    parts = {claim.id: claim.parts for claim in read_claims(CLAIMS).claims}
    rules = {name: [(part.rule, part.threshold) for part in of] for name, of in parts.items()}
    assert rules["C1"] == [("at_least", 0.9)] and rules["C2"] == [("at_most", 0.1)]
    assert rules["C7"] == [("about", 0.1)] and rules["C9"] == [("at_most", 0.2)] * 2
    assert rules["C12"] == [("at_least", 0.9)] and rules["C15"] == [("at_least", 0.8)] * 3
    assert rules["C14"] == [("at_least", 0.9)] and parts["C14"][0].where.threshold == 0.5
    assert {tuple(part.families): part.rule for part in parts["C5"]} == {
        ("llama", "gemma"): "above",
        ("gpt2",): "below",
        ("gpt_neox",): "not_above",
    }
    assert [part.times for part in parts["C10"]] == [0.5] and parts["C10"][0].families == ["llama", "gemma"]
    # Log-probability first, top-5 second, headline and qa, unless a claim names others.
    for part in parts["C1"] + parts["C8"] + parts["C15"]:
        assert part.metrics == ["recovered_logprob", "recovered_top5"] and part.prompts == ["headline", "qa"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"setup": "fmrb"}, ["setup", "'fmrb'", "did you mean 'fmra'"]),
        ({"experiment": "heads"}, ["experiment of setup fmra", "'heads'", "valid: positions"]),
        ({"prompts": ["long"]}, ["prompt of experiment positions", "'long'", "headline, qa"]),
        ({"scheme": "O+FNN@LT[second_half]"}, ["scheme", "O+FNN", "did you mean 'O+FFN@LT[second_half]'"]),
        ({"scheme": "teacher:FE"}, ["scheme", "'teacher:FE'", "valid: ", "FE"]),
        ({"than": ["FE", "LT"]}, ["scheme", "'LT'"]),
        ({"than": "FE", "than_setup": "maps"}, ["experiment of setup maps", "'positions'", "heads"]),
        ({"where": {"scheme": "M", "rule": "below", "threshold": 0.5}}, ["scheme", "'M'"]),
        ({"families": ["lama"]}, ["family", "'lama'", "did you mean 'llama'"]),
    ],
)
def test_a_claim_about_what_is_not_evaluated_is_refused_in_one_line(part, words):
    fine = {"scheme": "FE", "rule": "above", "threshold": 0}
    check_claims(claims_of(fine), EVALUATED)
    with pytest.raises(UserError) as caught:
        check_claims(claims_of(fine | part), EVALUATED)
    message = str(caught.value)
    assert "\n" not in message and "C1" in message and all(word in message for word in words), message


def test_of_hundreds_of_valid_schemes_an_error_names_the_nearest():
    part = {
        "setup": "maps",
        "experiment": "heads",
        "prompts": ["qa"],
        "scheme": "O{2}@LT[33]",
        "rule": "above",
    }
    with pytest.raises(UserError) as caught:
        check_claims(claims_of(part | {"threshold": 0}), EVALUATED)
    assert "did you mean 'O{2}@LT[3]'" in str(caught.value) and "83 in all" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rule: at_least", "rule: atleast", ["rule", "atleast", "did you mean 'at_least'"]),
        ("scheme: FE+LT", "schemes: FE+LT", ["schemes", "did you mean 'scheme'"]),
        (
            "[recovered_logprob, ",
            "[recovered_logprobs, ",
            ["recovered_logprobs", "did you mean 'recovered_logprob'"],
        ),
        ("[recovered_logprob, ", "[median_rank, ", ["median_rank", "mean_rank"]),
        ("id: C2", "id: C1", ["C1", "twice"]),
        ("threshold: 0.9}", "threshold: much}", ["threshold", "'much'"]),
        ("scheme: FE+LT, rule", "scheme: FE+LT, order: [FE, LT, M], rule", ["C1", "either scheme or order"]),
        ("scheme: FE+LT, rule", "scheme: FE+LT, times: 0.5, rule", ["C1", "times", "than"]),
        ("than_setup: fmfa, ", "", ["C15", "compared with itself"]),
        ("claims:\n", "claims: [\n", ["cannot be read"]),
    ],
)
def test_a_fault_in_the_file_ends_in_one_line(tmp_path, old, new, words):
    text = CLAIMS.read_text()
    assert old in text
    path = tmp_path / "claims.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_claims(path)
    message = str(caught.value)
    assert "\n" not in message and "claims.yaml" in message and all(word in message for word in words), (
        message
    )


def test_comparisons_read_as_the_paper_words_them():
    def words(metric: str = "recovered_logprob", **part) -> str:
        return claims_of({"rule": "above", "threshold": 0, **part}).claims[0].parts[0].words(metric)

    assert words(scheme="FE+LT", than=["FE", "LT"]) == "r(FE+LT) above max(r(FE), r(LT))"
    assert words(scheme="FE", rule="at_most", threshold=0.1) == "r(FE) at most 0.1"
    assert words(scheme="FE", than="FE", than_setup="fmra", rule="below") == "r(FE) below r(FE) in fmra"
    assert words(scheme="A", than="B", rule="about", threshold=0.1) == "r(A) about r(B), within 0.1"
    assert words(scheme="A", than="B", times=0.5, rule="at_least") == "r(A) at least 0.5 * r(B)"
    assert words("mean_logit_difference", scheme="SFT") == "SFT above 0"
    where = {"scheme": "LT", "rule": "below", "threshold": 0.5}
    assert words(scheme="A", where=where, threshold=0.9) == "r(A) above 0.9, where r(LT) is below 0.5"


def test_checking_claims_needs_no_pandas_scipy_or_torch():
    code = "import sys, stages.check_params; print({'pandas', 'scipy', 'torch'} & {*sys.modules})"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
    )


def changed_params(section: str, key: str, value: dict) -> dict:
    """The committed params with some keys of one entry changed."""
    params = copy.deepcopy(read_yaml(Path("params.yaml")))
    params[section][key] |= value
    return params


def check_against(values: dict) -> None:
    """The committed claims against these params, as check_params does it."""
    params, claims = parsed(Params, values), read_claims(CLAIMS)
    anatomies = [check_architecture(name, model, Path()) for name, model in params.models.items()]
    check_claims(claims, evaluated_for(claims, params, anatomies))


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        (
            "setups",
            "gentle",
            {"experiments": ["title"]},
            ["claim C13", "experiment of setup gentle", "'positions'"],
        ),
        ("experiments", "patching", {"schemes": ["PRE", "SFT", "LT"]}, ["claim C14", "'patch LT[late]'"]),
        (
            "experiments",
            "title",
            {"prompts": ["long"]},
            ["claim C6", "prompt of experiment title", "'movie_title'"],
        ),
    ],
)
def test_params_without_what_a_claim_needs_are_refused(section, key, value, words):
    check_against(read_yaml(Path("params.yaml")))
    with pytest.raises(UserError) as caught:
        check_against(changed_params(section, key, value))
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ({"haeds": ["recovered_logprob"]}, ["summarize.maps", "did you mean 'heads'"]),
        ({"heads": ["recovered"]}, ["summarize.maps.heads", "'recovered'", "recovered_logprob"]),
        ({"heads": ["mean_rank"]}, ["summarize.maps.heads", "lacks recovered_logprob"]),
    ],
)
def test_maps_of_unknown_experiments_or_metrics_are_refused(maps, words):
    with pytest.raises(UserError) as caught:
        check(changed_params("summarize", "maps", maps), Path("data"))
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_check_params_checks_the_claims(tmp_path):
    shutil.copytree("data", tmp_path / "data")
    check(read_yaml(Path("params.yaml")), tmp_path / "data")
    path = tmp_path / "data/claims.yaml"
    path.write_text(path.read_text().replace("scheme: FE+LT, rule", "scheme: FE+LP, rule", 1))
    with pytest.raises(UserError, match=r"claim C1: scheme .*'FE\+LP'.*did you mean"):
        check(read_yaml(Path("params.yaml")), tmp_path / "data")
