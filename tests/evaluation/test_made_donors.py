"""Claims about the experiments on strength, static masks and knocked-out attention: they are wired as their names say."""

from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_model

from stages.evaluation.experiments import Subject, cases
from stages.evaluation.mixtures import entries_like, made_donors
from stages.evaluation.scoring import cell_sizes
from stages.study.params import read_yaml
from weightgraft import Prompt
from weightgraft.engine.families import family_of
from weightgraft.engine.parts import anatomy_of

PARAMS = read_yaml(Path("params.yaml"))
PROMPTS = [
    Prompt(tokens=range(10), positions={"FE": (1, 2)}),
    Prompt(tokens=range(6), positions={"FE": (2, 3, 4)}),
]


def schemes_of(experiment: str) -> dict[str, str]:
    model = tiny_model("llama", seed=0)
    subject = Subject(anatomy_of(model, family_of("llama")), "sft", cell_sizes(model), 1, 0)
    return {case.scheme.name: str(case.scheme) for case in cases(PARAMS["experiments"][experiment], subject)}


def test_each_strength_is_grafted_from_the_donor_of_that_strength():
    strengths = {"sft": 1.0} | {
        name: made["strength"] for name, made in PARAMS["setups"]["strength"]["made_donors"].items()
    }
    assert sorted(strengths.values()) == [0.25, 0.5, 0.75, 1.0, 1.25]
    for name, notation in schemes_of("strength").items():
        if name in ("PRE", "SFT"):
            continue
        positions, strength = name.split(" | ")
        donor, where = notation.split(":")
        assert (where, strengths[donor]) == (positions, float(strength))


def test_each_static_mask_is_as_large_as_the_graft_that_it_is_named_after():
    likes = {name: made["like"] for name, made in PARAMS["setups"]["static"]["made_donors"].items()}
    found = {name: text for name, text in schemes_of("static").items() if name.endswith(" | static")}
    assert {name: likes[text.split(":")[0]] for name, text in found.items()} == {
        f"{positions} | static": positions for positions in ("FE", "LT", "FE+LT")
    }
    assert {text.split(":")[1] for text in found.values()} == {"all"}


def test_knocked_out_schemes_hide_the_name_from_the_last_token_and_graft_as_before():
    found = schemes_of("knock_out")
    for name in ("FE", "FE+LT", "SFT"):
        uncut = found[f"{name} | cut none"]
        assert "cut" not in uncut
        assert found[f"{name} | cut all"] == f"{uncut}, cut LT<-FE"
        assert found[f"{name} | cut 1/3"] == f"{uncut}, cut LT<-FE[1/3]"


def test_parameters_times_tokens_of_a_mask_are_those_of_the_graft():
    for positions, tokens in (("FE", 5), ("LT", 2), ("FE+LT", 7), ("all", 16)):
        entries = entries_like(positions, PROMPTS, 1600)
        assert entries * 16 == 1600 * tokens


def test_made_donors_are_made_of_the_donor_that_they_name():
    pre, other = tiny_model("llama", 1), tiny_model("llama", 2)
    made = made_donors(
        {"half": {"of": "x", "strength": 0.5}, "few": {"of": "y", "like": "LT"}},
        {"x": pre, "y": other},
        PROMPTS,
        1600,
    )
    assert made["half"].of is pre and made["half"].strength == 0.5
    assert made["few"].of is other and made["few"].entries == 200


@pytest.fixture
def logprobs(table):
    def of(setup: str, scheme: str) -> np.ndarray:
        rows = table(setup)
        rows = rows[rows["scheme"] == scheme].sort_values(["template", "fact_id"])
        return rows["target_logprob"].to_numpy()

    return of


def test_a_table_of_strengths_ends_at_sft_and_its_middle_is_neither_end(logprobs):
    np.testing.assert_allclose(logprobs("strength", "all | 1"), logprobs("strength", "SFT"), atol=1e-5)
    for strength in ("0.25", "0.5", "0.75", "1.25"):
        for end in ("PRE", "SFT"):
            assert (logprobs("strength", f"all | {strength}") != logprobs("strength", end)).all()


def test_a_knocked_out_table_is_as_before_where_nothing_is_cut(logprobs):
    np.testing.assert_allclose(
        logprobs("knock_out", "SFT | cut none"), logprobs("knock_out", "SFT"), atol=1e-5
    )
    assert (logprobs("knock_out", "SFT | cut all") != logprobs("knock_out", "SFT")).all()
