"""An incomplete per-fact table is refused, and the message names what is wrong."""

import numpy as np
import pandas as pd
import pytest

from stages.analysis.tables import check_scores, values_per_fact, write_csv
from weightgraft.errors import UserError


def refusal(scores: pd.DataFrame) -> str:
    with pytest.raises(UserError) as caught:
        check_scores(scores)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_complete_table_is_accepted(make_scores):
    check_scores(make_scores())


def test_missing_fact_is_named(make_scores):
    scores = make_scores()
    gone = (
        (scores["scheme"] == "FE+LT")
        & (scores["fact_id"] == "fact007")
        & (scores["template"] == "held_out_2")
    )
    assert gone.sum() == 1
    message = refusal(scores[~gone])
    assert message.startswith("1 rows missing")
    assert all(word in message for word in ("FE+LT", "fact007", "paraphrases", "held_out_2"))


def test_a_scheme_missing_from_one_prompt_is_named(make_scores):
    scores = make_scores()
    message = refusal(scores[~((scores["scheme"] == "LT") & (scores["prompt"] == "qa"))])
    assert "30 rows missing" in message and "scheme LT" in message and "prompt qa" in message


def test_one_fact_swapped_for_another_is_noticed(make_scores):
    scores = make_scores()
    row = scores.index[(scores["scheme"] == "FE") & (scores["prompt"] == "qa")][3]
    scores.loc[row, "fact_id"] = "stranger"
    assert "rows missing" in refusal(scores)


def test_duplicate_is_named(make_scores):
    scores = make_scores()
    twice = scores[(scores["scheme"] == "LT") & (scores["prompt"] == "qa")].iloc[4:5]
    message = refusal(pd.concat([scores, twice]))
    assert "1 duplicate" in message and "fact004" in message and "LT" in message


def test_every_fact_has_every_draw(make_scores):
    scores = make_scores()
    chosen = scores["scheme"] == "LT"
    more = pd.concat([scores, scores[chosen].assign(draw=1)], ignore_index=True)
    check_scores(more)
    missing = (more["draw"] == 1) & (more["fact_id"] == "fact004") & (more["prompt"] == "qa")
    assert "1 rows missing" in refusal(more[~missing])
    assert "duplicate" in refusal(more.assign(draw=0))


@pytest.mark.parametrize("column", ["target_rank", "target_logprob", "target_logit", "foil_logit"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_named(make_scores, column, value):
    scores = make_scores().astype({"target_rank": float})
    scores.loc[5, column] = value
    message = refusal(scores)
    assert column in message and "fact005" in message and "PRE" in message


def test_a_rank_below_one_is_named(make_scores):
    scores = make_scores()
    scores.loc[5, "target_rank"] = 0
    assert "target_rank is 0" in refusal(scores)


@pytest.mark.parametrize("scheme", ["PRE", "SFT"])
@pytest.mark.parametrize("experiment", ["positions", "title"])
def test_missing_reference_is_named(make_scores, scheme, experiment):
    scores = make_scores()
    message = refusal(scores[(scores["scheme"] != scheme) | (scores["experiment"] != experiment)])
    assert scheme in message and experiment in message


def test_missing_column_empty_table_empty_key_and_single_fact_are_refused(make_scores):
    scores = make_scores()
    assert "foil_logit" in refusal(scores.drop(columns="foil_logit"))
    assert "no rows" in refusal(scores.iloc[:0])
    assert "without prompt" in refusal(scores.assign(prompt=scores["prompt"].where(scores.index != 3)))
    assert "at least 2 facts" in refusal(make_scores(facts=1))


def test_values_of_a_fact_are_means_over_its_templates(make_scores):
    scores = make_scores().astype({"target_logprob": float})
    chosen = (
        (scores["scheme"] == "LT") & (scores["fact_id"] == "fact002") & (scores["template_split"] == "seen")
    )
    chosen &= scores["prompt"] == "paraphrases"
    scores.loc[chosen, "target_rank"] = [3, 11]
    scores.loc[chosen, "target_logprob"] = np.log([0.5, 0.1])
    scores.loc[chosen, "target_logit"] = [2.0, 4.0]
    scores.loc[chosen, "foil_logit"] = [1.0, 1.5]
    values = values_per_fact(scores)
    (_, row), *others = values[
        (values["scheme"] == "LT")
        & (values["fact_id"] == "fact002")
        & (values["prompt"] == "paraphrases")
        & (values["template_split"] == "seen")
    ].iterrows()
    assert not others
    assert row[["top1", "top5", "top10", "top20", "top50", "top100"]].tolist() == [0, 0.5, 0.5, 1, 1, 1]
    assert row["rank"] == 7 and row["logit_difference"] == 1.75
    assert row["probability"] == pytest.approx(0.3)
    assert row["logprob"] == pytest.approx(np.log([0.5, 0.1]).mean())


def test_a_mean_between_two_printed_numbers_is_written_alike_in_whichever_order_it_was_summed(tmp_path):
    """52.34565 lies at the edge of six digits: the rounding of a sum moves it to either side."""
    sums = [52.34565 - 1e-14, 52.34565 + 1e-14]
    assert len({f"{value:.6g}" for value in sums}) == 2
    for place, value in enumerate(sums):
        write_csv(pd.DataFrame({"estimate": [value], "scheme": ["FE"]}), tmp_path / str(place) / "t.csv")
    assert len({(tmp_path / str(place) / "t.csv").read_bytes() for place in range(len(sums))}) == 1
