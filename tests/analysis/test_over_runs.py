"""Claims about verdicts over runs: which point is the first, what a slope is of, and that runs, not facts, are what is counted."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from stages.analysis.claims import RunClaim
from stages.analysis.over_runs import SCHEMES, judge_over_runs, mean_over_runs, number_of, summarize_points

POINTS = (0.1, 0.2, 0.3, 1.0)
KNOWS = (0.02, 0.55, 0.8, 1.0)  # SFT's top-5 accuracy; at .2 its interval still takes in .5
LT = (9.0, 9.0, 0.5, 0.2)


def run_of(seed: int, points=POINTS, knows=KNOWS, lt=LT, fe=None) -> list[dict]:
    rows = []
    for place, point in enumerate(points):
        at = {"model": "tiny-gpt2", "seed": seed, "point": point, "n": 100}
        for prompt in ("headline", "qa"):
            share = {"scheme": "SFT", "metric": "top5_accuracy", "estimate": knows[place]}
            rows.append(at | share | {"prompt": prompt, "low": knows[place] - 0.1, "high": 1.0})
            for metric in ("recovered_logprob", "recovered_top5"):
                for scheme, values in (("LT | layers", lt), ("FE | layers", fe or (0.1,) * 4), ("FE", lt)):
                    found = {"scheme": scheme, "metric": metric, "estimate": values[place] + 0.01 * seed}
                    found["estimate"] -= 0.01 * seed if scheme.startswith("FE |") else 0
                    rows.append(at | found | {"prompt": prompt, "low": 0.0, "high": 1.0})
    return rows


def claim(measure: str, **changes) -> RunClaim:
    part = {
        "study": "trajectory", "setup": "fmra", "experiment": "layers_only", "measure": measure, "scheme": "LT | layers",
        "than": "FE | layers" if measure == "first_known" else None, "rule": "above", "threshold": 0, "least_runs": 3,
        "prompts": ["headline", "qa"], "metrics": ["recovered_logprob", "recovered_top5"],
    }  # fmt: skip
    return RunClaim(id="L1", text="a", comparison="b", parts=[part | changes])


def table_of(*runs: list[dict], shuffled: bool = True) -> pd.DataFrame:
    table = pd.DataFrame([row for run in runs for row in run])
    return table.sample(frac=1, random_state=0) if shuffled else table


def test_the_first_point_is_the_first_by_updates_where_the_interval_is_above_a_half():
    """Whatever the order of the rows: a checkpoint before it, or a later one, gives another number."""
    part = claim("first_known").parts[0]
    rows = table_of(run_of(0))
    assert number_of(part, "recovered_logprob", rows[rows["prompt"] == "qa"]) == pytest.approx(0.4)
    turned = table_of(run_of(0, points=POINTS[::-1]))
    assert number_of(part, "recovered_logprob", turned[turned["prompt"] == "qa"]) == pytest.approx(0.1)


def test_a_verdict_is_over_runs_by_students_t():
    runs = [run_of(seed) for seed in (1, 2, 3)]
    verdicts = judge_over_runs([claim("first_known")], "trajectory", table_of(*runs))
    whole = verdicts[verdicts["prompt"] == "all"].iloc[0]
    assert (whole["verdict"], whole["top5_verdict"], whole["runs"]) == ("holds", "holds", 3)
    first = verdicts.iloc[0]
    numbers = [0.41, 0.42, 0.43]
    ends = ttest_1samp(numbers, 0).confidence_interval(0.95)
    assert first[["estimate", "low", "high"]].tolist() == pytest.approx([0.42, *ends])


def test_what_lies_on_the_other_side_in_all_runs_fails_and_noisy_runs_decide_nothing():
    low = [run_of(seed, fe=(0.0, 0.0, 0.9, 0.9)) for seed in (1, 2, 3)]
    noisy = [run_of(seed, fe=(0.0, 0.0, value, 0.0)) for seed, value in ((1, 0.0), (2, 0.9), (3, 0.4))]
    for runs, word in ((low, "fails"), (noisy, "undecided")):
        verdicts = judge_over_runs([claim("first_known")], "trajectory", table_of(*runs))
        assert verdicts["verdict"].iloc[-1] == word


def test_with_too_few_runs_that_know_the_facts_nothing_is_decided():
    never = run_of(3, knows=(0.1, 0.2, 0.3, 0.4))
    verdicts = judge_over_runs([claim("first_known")], "trajectory", table_of(run_of(1), run_of(2), never))
    assert set(verdicts["verdict"]) == {"undecided"} and set(verdicts["runs"]) == {2}
    assert judge_over_runs([claim("first_known")], "texts", table_of(run_of(1))).empty
    assert mean_over_runs([0.3])[1:] == (-np.inf, np.inf)


def test_a_slope_is_over_the_logarithm_of_forms_and_only_where_sft_knows_the_facts():
    part = claim("slope").parts[0]
    points = (1, 2, 8, 12)
    rising = [0.1 + 0.2 * np.log(point) for point in points]
    rows = table_of(run_of(0, points=points, knows=(0.5, 0.9, 1.0, 1.0), lt=(7.0, *rising[1:])))
    rows = rows[rows["prompt"] == "qa"]
    assert number_of(part, "recovered_logprob", rows) == pytest.approx(0.2)
    unknown = table_of(run_of(0, points=points, knows=(0.5, 0.8, 1.0, 1.0)))
    assert number_of(part, "recovered_logprob", unknown[unknown["prompt"] == "qa"]) is None


def articles_run(seed: int, knows=(1.0, 0.95), fe=(0.3, 0.5)) -> list[dict]:
    """A run of two trainings. Other schemes' accuracies stand in its rows too."""
    rows = run_of(seed, points=("articles", "short"), knows=knows, lt=fe, fe=(0.1,) * 2)
    of_fe = [row | {"scheme": "FE"} for row in rows if row["scheme"] == "SFT"]
    return rows + [row | {"estimate": 0.2} for row in of_fe]


def test_of_articles_a_number_is_one_points_value_or_that_beside_its_twins():
    runs = table_of(*(articles_run(seed, fe=(0.3, 0.5 - 0.02 * seed)) for seed in (1, 2, 3)))
    fits = {"study": "articles", "scheme": "FE", "than": None, "point": "articles"}
    for more, numbers in (({}, [0.31, 0.32, 0.33]), ({"than_point": "short"}, [-0.18, -0.16, -0.14])):
        verdicts = judge_over_runs([claim("known", **fits, **more)], "articles", runs)
        assert (
            verdicts["estimate"].iloc[0] == pytest.approx(np.mean(numbers)) and verdicts["runs"].iloc[0] == 3
        )
    below = judge_over_runs([claim("known", **fits, than_point="short", rule="below")], "articles", runs)
    above = judge_over_runs([claim("known", **fits, than_point="short", rule="above")], "articles", runs)
    assert (below["verdict"].iloc[-1], above["verdict"].iloc[-1]) == ("holds", "fails")


@pytest.mark.parametrize(
    ("knows", "numbers"),
    [((0.89, 1.0), (None, None)), ((1.0, 0.89), (0.31, None)), ((0.9, 0.9), (0.31, -0.2))],
)
def test_where_an_sft_does_not_know_the_facts_nothing_is_compared(knows, numbers):
    rows = table_of(articles_run(1, knows=knows))
    rows = rows[rows["prompt"] == "qa"]
    for than_point, number in zip((None, "short"), numbers, strict=True):
        part = claim(
            "known", study="articles", scheme="FE", than=None, point="articles", than_point=than_point
        ).parts[0]
        found = number_of(part, "recovered_logprob", rows)
        assert found == (number if number is None else pytest.approx(number))


def test_every_point_is_summarized_by_itself_and_sft_by_its_top5():
    rng, facts = np.random.default_rng(0), 12
    rows = []
    for point, gain in ((0.5, 1.0), (1.0, 4.0)):
        for scheme in SCHEMES:
            share = {"PRE": 0.0, "SFT": 1.0}.get(scheme, 0.25 * point)
            rows += [
                {
                    **{"model": "m", "seed": 1, "setup": "s", "dataset": "d", "experiment": "layers_only", "prompt": "qa"},
                    **{"template": "qa", "template_split": "seen", "direction": "ab", "draw": 0, "scheme": scheme},
                    **{"fact_id": fact, "target_rank": 1 if share == 1 else 9, "point": point},
                    **{"target_logprob": -5 + share * gain, "target_logit": share + rng.normal(0, 0.1), "foil_logit": 0.0},
                }
                for fact in range(facts)
            ]  # fmt: skip
    table = summarize_points(pd.DataFrame(rows), resamples=100, seed=0)
    found = table.set_index(["point", "scheme", "metric"])["estimate"]
    for point in (0.5, 1.0):
        assert found[point, "SFT", "top5_accuracy"] == 1
        assert found[point, "FE | layers", "recovered_logprob"] == pytest.approx(0.25 * point)
    assert "PRE" not in set(table["scheme"]) and set(table["n"]) == {facts}
    more = summarize_points(
        pd.DataFrame(rows), resamples=100, seed=0, shares=["top5_accuracy", "top50_accuracy"]
    )
    assert {*more[more["metric"] == "top50_accuracy"]["scheme"]} == {*SCHEMES}
    assert set(more[more["metric"] == "top50_accuracy"]["estimate"]) == {1.0}
    found = more[
        ~more["metric"].isin(["top50_accuracy"])
        & ((more["metric"] != "top5_accuracy") | (more["scheme"] == "SFT"))
    ]
    pd.testing.assert_frame_equal(found.reset_index(drop=True), table)
