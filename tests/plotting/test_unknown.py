"""Claims about questions that SFT does not answer: no fraction of next to nothing is drawn."""

from pictures import bars

from stages.analysis import comparisons
from stages.plotting import results


def test_where_sft_does_not_know_the_answer_no_fraction_is_drawn_and_no_axis_is_stretched(
    make_summaries, render
):
    summaries = make_summaries()
    unknown = (summaries["model"] == "tiny-llama") & (summaries["prompt"] == "long")
    sft = unknown & (summaries["scheme"] == "SFT") & (summaries["metric"] == "top5_accuracy")
    wild = unknown & (summaries["metric"] == "recovered_logprob") & ~summaries["scheme"].isin(["PRE", "SFT"])
    assert sft.any() and wild.any()
    summaries.loc[summaries["scheme"].eq("SFT") & summaries["metric"].eq("top5_accuracy"), "estimate"] = 0.9
    summaries.loc[wild, ["estimate", "low", "high"]] = [-9.0, -12.0, -7.0]
    assert render("figure2_logprob", summaries).axes[14].get_ylim()[0] < -12
    summaries.loc[sft, "estimate"] = 0.89
    figure = render("figure2_logprob", summaries)
    assert not bars(figure.axes[14]) and len(bars(figure.axes[13])) == 6
    assert [t.get_text() for t in figure.axes[14].texts].count("undefined") == 6
    assert figure.axes[14].get_ylim()[0] > -1
    assert len(bars(render("figure2", summaries).axes[14])) == 8  # an accuracy is one all the same


def test_the_figures_and_the_verdicts_leave_out_the_same_questions():
    assert results.KNOWN == comparisons.KNOWN
