"""Claims about the flat guess: it knows how often each first token begins an answer, and no fact."""

import numpy as np
import pandas as pd
import pytest

from stages.analysis.metrics import FLAT_GUESS, GUESSED
from stages.analysis.summary import first_tokens, guess_logprob, summarize

BOOTSTRAP = {"resamples": 300, "seed": 0}
FACTS = 8
TOKENS = [" Ann"] * 4 + [" Bob"] * 2 + [" Cy", " Di"]


@pytest.fixture
def scores(make_scores) -> pd.DataFrame:
    """PRE at -9, SFT at -1 on every fact, whose answer SFT has right; no other scheme has."""
    table = make_scores(facts=FACTS)
    names = {f"fact{i:03}": token for i, token in enumerate(TOKENS)}
    is_sft = table["scheme"] == "SFT"
    table.loc[table["scheme"] == "PRE", "target_logprob"] = -9.0
    table.loc[is_sft, "target_logprob"] = -1.0
    table["target_rank"] = np.where(is_sft, 1, 7)
    table["top1_token"] = np.where(is_sft, table["fact_id"].map(names), " wrong")
    return table


def guess_of(summary: pd.DataFrame, prompt: str = "headline") -> pd.Series:
    rows = summary[(summary["metric"] == GUESSED) & (summary["prompt"] == prompt)]
    assert len(rows) == 1 and rows["scheme"].tolist() == [FLAT_GUESS]
    return rows.iloc[0]


def test_it_gives_each_answer_the_share_of_the_facts_that_begin_so(scores):
    told = (4 * np.log(4 / 8) + 2 * np.log(2 / 8) + 2 * np.log(1 / 8)) / 8
    found = guess_of(summarize(scores, **BOOTSTRAP))
    assert found["estimate"] == pytest.approx((told + 9) / 8) and found["n"] == FACTS
    assert found["low"] < found["estimate"] < found["high"]


def test_an_answer_that_no_scheme_has_right_is_an_answer_of_its_own(scores):
    """Its first token is not known; what the model says there instead is another one."""
    scores.loc[scores["fact_id"] == "fact000", "target_rank"] = 7
    assert len(first_tokens(scores)) == FACTS - 1
    told = (3 * np.log(3 / 8) + 2 * np.log(2 / 8) + 3 * np.log(1 / 8)) / 8
    assert guess_of(summarize(scores, **BOOTSTRAP))["estimate"] == pytest.approx((told + 9) / 8)


def test_answers_that_all_begin_alike_are_guessed_and_those_that_all_differ_by_one_in_n():
    assert guess_logprob(["a"] * 3).tolist() == [0.0] * 3
    assert guess_logprob(["a", "b", "c", "d"]) == pytest.approx([-np.log(4)] * 4)


def test_a_map_has_none(scores):
    summary = summarize(scores, maps={"title": ["recovered_logprob"]}, **BOOTSTRAP)
    assert set(summary.loc[summary["metric"] == GUESSED, "experiment"]) == {"positions"}
