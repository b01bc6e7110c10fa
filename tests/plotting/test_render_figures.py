"""The stage: which figures it draws, the same bytes every time, colours that part, clear errors."""

import json
import sys
from pathlib import Path

import pytest
from pictures import lightness, smallest_difference

from stages.frame.timing import ASKED
from stages.plotting.style import TINTS, tinted
from stages.render_figures import main, render
from stages.study.items import summary_items
from stages.study.settings import write_settings
from weightgraft.errors import UserError, run_main

REPOSITORY = Path(__file__).parents[2]
QUICK = (
    "figure1",
    "figure2",
    "figure2_logprob",
    "figure_families",
    "figure_title",
    "figure_unembedding",
    "figure_layers_only",
    "figure_logits",
)
QUICK_NAMES = {*QUICK, "figure_metrics", "figure_paraphrases", "figure_necessity", "figure_answers"}


@pytest.fixture
def run_stage(tmp_path, monkeypatch, made, section, study):
    """Run the stage in an empty folder for a study of one model; gives the output folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "summary").mkdir()

    def run(
        out="figures", recipes=("fmra",), setups=(), own=(), models=("tiny-gpt2",), new=(), left_out=()
    ) -> Path:
        study.update(models=[*models], recipes=[*recipes], setups=[*setups], own=[*own])
        study["repeats"]["models"], study["new_form"]["models"] = [], [*new]
        write_settings(tmp_path, {"settings.json": {"study": study, "render_figures": section}})
        for model, seed, setup in summary_items(study):
            if setup not in left_out:
                folder = tmp_path / f"summary/{model}-{seed}"
                folder.mkdir(exist_ok=True)
                made(model, seed, setup).to_csv(folder / f"{setup}.csv", index=False)
        published = str(REPOSITORY / "data" / "published")
        arguments = ["--settings", "settings.json", "--summaries", "summary"]
        arguments += ["--real", "real", "--published", published, "--out", out]
        monkeypatch.setattr(sys, "argv", ["render_figures", *arguments])
        run_main(main)
        return tmp_path / out

    return run


def test_a_quick_run_draws_what_its_one_recipe_shows(run_stage, capsys):
    names = {path.name for path in run_stage().iterdir()}
    assert names == {f"{name}.{end}" for name in QUICK_NAMES for end in ("png", "svg")}
    line = capsys.readouterr().out.strip()
    assert (
        "\n" not in line and "12 figures (figure1, figure2, " in line and "FE+LT recovers at least 0." in line
    )


# One of each kind of page: bars, lying bars, dots, pages of several, both maps. test_pages.py draws every figure.
KINDS = [f"figure{kind}" for kind in ("1", "2", "_title", "_metrics", "_controls", "_components", "_layers")]


@pytest.fixture
def draw_in(tmp_path, whole_study, published, study, section):
    """Draw the section's figures of one model in so many processes; gives {file: bytes}."""
    study.update(models=["tiny-gpt2"], repeats=study["repeats"] | {"models": []})
    study["new_form"]["models"] = []
    summaries = whole_study()

    def drawn(processes: int) -> dict[str, bytes]:
        out = tmp_path / f"by_{processes}"
        render(summaries, published, study, section, out, processes)
        return {path.name: path.read_bytes() for path in out.iterdir()}

    return drawn


def test_one_process_and_two_write_the_same_bytes_and_the_others_seconds_are_told_where_a_run_asks(
    draw_in, section, monkeypatch, tmp_path
):
    section["figures"] = {name: section["figures"][name] for name in KINDS}
    monkeypatch.setenv(ASKED, str(tmp_path / "times"))
    alone = draw_in(1)
    assert len(alone) == 2 * len(KINDS) and not (tmp_path / "times").exists()
    assert draw_in(2) == alone
    told = json.loads((tmp_path / "times").read_text())
    assert told["stage"] == "render_figures" and told["work"] > 0


def test_what_is_wrong_in_another_process_is_told_as_in_this_one(draw_in, section):
    section["figures"] = {name: section["figures"][name] for name in ("figure1", "figure3")}
    section["figures"]["figure3"]["metric"] = "top7_accuracy"
    for processes in (1, 2):
        with pytest.raises(UserError, match=r"figure3\.metric: 'top7_accuracy' is none of"):
            draw_in(processes)


def only(section, name):
    section["figures"] = {name: section["figures"][name]}


def test_figures_carry_no_date_and_svg_needs_no_font(run_stage, section):
    only(section, "figure2")
    svg = (run_stage() / "figure2.svg").read_text()
    assert "<dc:date>" not in svg and "<text" not in svg


def test_a_colour_changes_the_figures(run_stage, section):
    only(section, "figure2")
    before = (run_stage("a") / "figure2.png").read_bytes()
    section["colours"]["FE"] = "#123456"
    assert (run_stage("b") / "figure2.png").read_bytes() != before


def refusal(run_stage, capsys, **arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        run_stage(**arguments)
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 1 and error.startswith("error: ") and "\n" not in error
    return error


def test_a_missing_summary_is_named(run_stage, capsys):
    error = refusal(run_stage, capsys, setups=("hybrid",), left_out=("hybrid",))
    assert "tiny-gpt2-0/hybrid.csv is missing" in error


def test_a_study_without_any_figure_is_refused(run_stage, section, capsys):
    only(section, "figure3")
    assert "fmra" in refusal(run_stage, capsys)


@pytest.mark.parametrize(
    "group",
    [("PRE", "SFT", "FE", "LT", "FE+LT"), ("M", "M+LT", "FE+M", "FE+M+LT"), ("R", "R+LT", "FE+R", "FE+R+LT")],
)
def test_colours_of_a_group_part_in_greyscale(section, group):
    shades = [lightness(section["colours"][scheme]) for scheme in group]
    assert smallest_difference(shades) >= 8
    assert max(shades) < 88  # a bar must still be seen on white


def test_variants_of_every_colour_part_in_greyscale(section):
    for scheme, colour in section["colours"].items():
        shades = [lightness(tinted(colour, share)) for share in TINTS]
        assert smallest_difference(shades) >= 5, scheme
    for scheme in ("SFT", "FE", "LT", "FE+LT"):  # the ones that are drawn in variants
        assert (
            smallest_difference([lightness(tinted(section["colours"][scheme], share)) for share in TINTS])
            >= 8
        )
