"""Claims about the pages on what the paper did not ask."""

import pytest
from pictures import bars, intervals, texts

from stages.plotting.shown import COLLATERAL_SCHEMES, KINDS, LEFT_OUT, POSITION_SCHEMES

NEW = {"figure_necessity": "fmra", "figure_answers": "fmra", "figure_collateral": "collateral"}


def estimates(summaries, **where):
    rows = summaries[(summaries["seed"] == 0) & (summaries["direction"] == "ab")]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows.set_index("scheme")[["estimate", "low", "high"]]


@pytest.mark.parametrize("name", NEW)
def test_a_model_that_was_not_asked_has_no_column_and_the_others_are_drawn(make_summaries, render, name):
    summaries = make_summaries(setup=NEW[name])
    whole = render(name, summaries)
    asked = {
        "figure_necessity": "necessity",
        "figure_answers": "positions",
        "figure_collateral": "collateral",
    }[name]
    lacks = (summaries["model"] == "tiny-llama") & (summaries["experiment"] == asked)
    figure = render(name, summaries[~lacks])
    assert len(figure.axes) == len(whole.axes) * 3 // 4
    assert (
        "tiny-llama" in texts(whole) and "tiny-llama" not in texts(figure) and "tiny-gemma" in texts(figure)
    )


def test_kinds_of_answers_are_stacked_and_make_one(make_summaries, render):
    summaries = make_summaries()
    axes = render("figure_answers", summaries).axes[1]
    where = {"model": "tiny-pythia", "prompt": "headline", "experiment": "positions"}
    drawn = bars(axes)
    assert len(drawn) == len(KINDS) * len(POSITION_SCHEMES)
    tops = [0.0] * len(POSITION_SCHEMES)
    for number, kind in enumerate(KINDS):
        shares = estimates(summaries, metric=f"answered_{kind}", **where)["estimate"]
        row = drawn[number * len(POSITION_SCHEMES) : (number + 1) * len(POSITION_SCHEMES)]
        for place, scheme in enumerate(POSITION_SCHEMES):
            assert row[place].get_y() == pytest.approx(tops[place])
            assert row[place].get_height() == pytest.approx(shares[scheme])
            tops[place] += row[place].get_height()
    assert tops == pytest.approx([1] * len(tops))
    right = estimates(summaries, metric="answered_target", **where).loc[[*POSITION_SCHEMES]]
    assert [ends for _, *ends in intervals(axes)] == right[["low", "high"]].to_numpy().tolist()


def test_what_is_left_out_has_the_bars_of_its_schemes(make_summaries, render):
    summaries = make_summaries()
    axes = render("figure_necessity", summaries).axes[0]
    where = {
        "model": "tiny-gpt2",
        "prompt": "headline",
        "experiment": "necessity",
        "metric": "recovered_logprob",
    }
    found = estimates(summaries, **where)["estimate"]
    expected = [
        found[name]
        for cell in LEFT_OUT
        for part in ("all", "second_half", "last_quarter")
        if (name := f"SFT except {cell}[{part}]") in found.index
    ]
    assert [bar.get_width() for bar in bars(axes)] == expected
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [cell.replace("all@", "everything@") for cell in LEFT_OUT]


def test_known_casts_are_shown_by_nats_and_by_what_new_names_gain(make_summaries, render):
    summaries = make_summaries(setup="collateral")
    figure = render("figure_collateral", summaries)
    for axes, metric in ((figure.axes[0], "mean_logprob"), (figure.axes[4], "mean_watched_mass")):
        found = [
            estimates(summaries, model="tiny-gpt2", metric=metric, prompt=prompt)["estimate"]
            for prompt in ("headline", "qa")
        ]
        expected = [values[scheme] for scheme in COLLATERAL_SCHEMES for values in found]
        assert [bar.get_height() for bar in bars(axes)] == expected
        low, high = axes.get_ylim()
        assert low <= min(0, *expected) and high >= max(0, *expected)  # the bars begin at 0, which is seen
