"""Claims about the page on patching: its layers are each model's own."""

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
