"""The stage: which figures it draws, the same bytes every time, colours that part, clear errors."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from ruamel.yaml import YAML

from stages.params import run_main
from stages.render_figures import main

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def run_stage(tmp_path, monkeypatch, make_summaries, section):
    """Run the stage in an empty folder for one model and the recipes given; gives the output folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "summary").mkdir()

    def run(out="figures", recipes=("fmra",), models=("tiny-gpt2",)) -> Path:
        study = {"models": list(models), "seeds": [0], "recipes": list(recipes)}
        with (tmp_path / "params.yaml").open("w") as file:
            YAML().dump({"study": study, "render_figures": section}, file)
        for recipe in recipes:
            path = tmp_path / "summary" / f"tiny-gpt2-0-{recipe}.csv"
            make_summaries(["tiny-gpt2"], recipe).to_csv(path, index=False)
        published = str(REPOSITORY / "data" / "published")
        arguments = ["--summaries", "summary", "--published", published, "--out", out]
        monkeypatch.setattr(sys, "argv", ["render_figures", *arguments])
        run_main(main)
        return tmp_path / out

    return run


def test_figures_of_the_studys_recipes_are_drawn_and_no_others(run_stage, capsys):
    names = {path.name for path in run_stage(recipes=("fmfa",)).iterdir()}
    assert names == {"figure2_fmfa.png", "figure2_fmfa.svg"}
    line = capsys.readouterr().out.strip()
    assert "\n" not in line and "1 figures (figure2_fmfa)" in line and "FE+LT recovers at least 0.500" in line


def test_one_model_and_the_main_recipe_give_all_its_figures(run_stage, section):
    names = {path.stem for path in run_stage().iterdir()}
    assert names == {name for name, wanted in section["figures"].items() if wanted["recipe"] == "fmra"}
    assert {"figure2", "figure2_logprob", "figure_title", "figure_paraphrases"} <= names


def test_figures_are_byte_identical(run_stage):
    first, second = run_stage("a"), run_stage("b")
    files = sorted(first.iterdir())
    assert len(files) == 8
    for file in files:
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_figures_carry_no_date_and_svg_needs_no_font(run_stage):
    svg = (run_stage(recipes=("fmfa",)) / "figure2_fmfa.svg").read_text()
    assert "<dc:date>" not in svg and "<text" not in svg


def test_a_colour_changes_the_figures(run_stage, section):
    before = (run_stage("a", recipes=("fmfa",)) / "figure2_fmfa.png").read_bytes()
    section["colours"]["FE"] = "#123456"
    assert (run_stage("b", recipes=("fmfa",)) / "figure2_fmfa.png").read_bytes() != before


def refusal(run_stage, capsys, **arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        run_stage(**arguments)
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 1 and error.startswith("error: ") and "\n" not in error
    return error


def test_a_missing_summary_is_named(run_stage, capsys):
    assert "tiny-llama-0-fmra.csv is missing" in refusal(
        run_stage, capsys, models=("tiny-gpt2", "tiny-llama")
    )


def test_a_study_without_any_figure_is_refused(run_stage, capsys):
    assert "other" in refusal(run_stage, capsys, recipes=("other",))


def lightness(colour: str) -> float:
    """CIE L*, 0 to 100: what greyscale print keeps of a colour."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize(
    "group",
    [("PRE", "SFT", "FE", "LT", "FE+LT"), ("M", "M+LT", "FE+M", "FE+M+LT"), ("R", "R+LT", "FE+R", "FE+R+LT")],
)
def test_colours_of_a_group_part_in_greyscale(section, group):
    shades = [lightness(section["colours"][scheme]) for scheme in group]
    assert min(abs(a - b) for a, b in itertools.combinations(shades, 2)) >= 8
    assert max(shades) < 88  # a bar must still be seen on white
