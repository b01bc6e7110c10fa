"""Claims about the page on patching: its layers are each model's own."""

import pandas as pd
from pictures import check_readable


def test_models_of_different_depths_stand_side_by_side_each_with_its_own_layers(whole_study, study, render):
    study["models"] = ["tiny-gpt2", "tiny-llama"]
    summaries = whole_study()
    shallow = summaries["model"].eq("tiny-gpt2") & summaries["scheme"].str.contains(r"\[[345]\]$")
    assert shallow.any()
    figure = render("figure_patching", summaries[~shallow])
    check_readable(figure)
    for axes, layers in zip(figure.axes[-2:], (3, 6), strict=True):
        told = [label.get_text() for label in axes.get_xticklabels()]
        assert told == [*map(str, range(layers)), "all", "graft"]
        lines = [line for line in axes.lines if len(line.get_xdata()) == layers]
        assert len(lines) == 3  # FE, LT, FE+LT


def test_in_a_deep_model_every_point_stands_at_its_layer(whole_study, study, render):
    study["models"] = ["tiny-llama"]
    summaries = whole_study()
    last = summaries[summaries["scheme"].str.endswith("[5]")]
    deeper = [
        last.assign(scheme=last["scheme"].str.replace("[5]", f"[{layer}]", regex=False))
        for layer in range(6, 30)
    ]
    figure = render("figure_patching", pd.concat([summaries, *deeper], ignore_index=True))
    for axes in figure.axes[:2]:
        lines = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 30]
        assert len(lines) == 3
        assert all(abs(x - layer) < 0.5 for line in lines for layer, x in enumerate(line))
        assert axes.get_xlim()[0] < min(line[0] for line in lines)
