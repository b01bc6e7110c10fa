"""What the report's stage is given: a fault in it is one line that names it, and nothing is written."""

from pathlib import Path

import pandas as pd
import pytest
from made_up_study import STUDY, png


def refusal(study_folder: Path, run_stage, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        run_stage(study_folder)
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 1 and error.startswith("error: ") and "\n" not in error
    assert not (study_folder / "report.html").exists()
    return error


@pytest.mark.parametrize(
    "name", ["summary/tiny-llama-0/fmra.csv", "verdicts/tiny-llama-0.csv", "figures/figure_title.png"]
)
def test_a_missing_input_is_named(study_folder, run_stage, capsys, name):
    (study_folder / name).unlink()
    assert f"{name} is missing" in refusal(study_folder, run_stage, capsys)


def test_verdicts_of_the_repeats_may_be_missing(study_folder, run_stage):
    (study_folder / f"verdicts/{STUDY['repeats']['models'][0]}-1.csv").unlink()
    text = run_stage(study_folder).read_text()
    assert "tiny-gpt2 seed" not in text[text.index('<table class="matrix">') :].partition("</table>")[0]


def test_a_verdict_that_is_no_verdict_is_named(study_folder, run_stage, capsys):
    path = study_folder / "verdicts/tiny-llama-0.csv"
    path.write_text(path.read_text().replace(",holds,", ",maybe,"))
    assert "'maybe'; valid: holds, fails, undecided, not shown, left out" in refusal(
        study_folder, run_stage, capsys
    )


def test_verdicts_without_a_column_are_named(study_folder, run_stage, capsys):
    path = study_folder / "verdicts/tiny-llama-0.csv"
    pd.read_csv(path).drop(columns="threshold").to_csv(path, index=False)
    assert "no column 'threshold'" in refusal(study_folder, run_stage, capsys)


def test_a_figure_that_is_no_png_is_named(study_folder, run_stage, capsys):
    (study_folder / "figures/figure2.png").write_bytes(png(10, 10)[1:])
    assert "figure2.png is no PNG" in refusal(study_folder, run_stage, capsys)


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ("minute: {}\n", "unknown key 'minute'; valid: questions"),
        ("questions: [{question: Where, claims: [C1, C99]}]\n", "'Where': claim 'C99' is none of C1,"),
    ],
)
def test_a_note_that_does_not_fit_is_named(study_folder, run_stage, capsys, notes, said):
    (study_folder / "notes.yaml").write_text(notes)
    assert said in refusal(study_folder, run_stage, capsys)
