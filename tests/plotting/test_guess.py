"""The guess among the answers is a line in every panel of log-probability in which SFT knows what is asked, and nowhere else."""

import itertools

import pandas as pd
from matplotlib.colors import to_hex
from pictures import texts

from stages.analysis.metrics import FLAT_GUESS, GUESSED
from stages.plotting.guess import LINE

PROMPTS = ["headline", "qa", "movie_title", "long"]


def rows_of(summaries, experiment, metric) -> pd.DataFrame:
    """The summary's rows by scheme."""
    rows = summaries[(summaries["experiment"] == experiment) & (summaries["metric"] == metric)]
    return rows.set_index("scheme")


def places_of(study) -> list[tuple[str, str]]:
    return [*itertools.product(PROMPTS, study["models"])]


def test_a_guess_among_the_answers_is_a_line_where_log_probability_is_shown(make_summaries, study, render):
    summaries = make_summaries()
    guesses = rows_of(summaries, "positions", "recovered_logprob").loc["FE"].reset_index()
    guesses = guesses.assign(scheme=FLAT_GUESS, metric=GUESSED)
    guesses["estimate"] = [0.5 + place / 1000 for place in range(len(guesses))]
    with_guess = pd.concat([summaries, guesses], ignore_index=True)

    def lines(figure) -> list[float]:
        dotted = [
            line
            for axes in figure.axes
            for line in axes.lines
            if to_hex(line.get_color()) == to_hex(LINE["color"])
        ]
        return [line.get_ydata()[0] for line in dotted]

    found = guesses.set_index(["prompt", "model"])["estimate"]
    figure = render("figure2_logprob", with_guess)
    assert lines(figure) == [
        found[place] for place in places_of(study)
    ] and "a guess among the answers" in texts(figure)
    assert lines(render("figure2", with_guess)) == lines(render("figure2_logprob", summaries)) == []
    # Nor where SFT does not know what is asked: there nothing recovers a fraction.
    blank = with_guess.copy()
    of_sft = (
        (blank["scheme"] == "SFT")
        & (blank["metric"] == "top5_accuracy")
        & (blank["experiment"] == "positions")
    )
    blank.loc[of_sft & (blank["prompt"] == "qa") & (blank["model"] == study["models"][0]), "estimate"] = 0.5
    shown = [place for place in places_of(study) if place != ("qa", study["models"][0])]
    assert lines(render("figure2_logprob", blank)) == [found[place] for place in shown]
