"""Claims about make pages: what README.md and docs/*.md say in numbers is what the committed results say."""

import re
import shutil
import sys

import pandas as pd
import pytest
from closure import ROOT

from stages.commands.page_numbers import Results, estimates, largest, read_results, spread
from stages.commands.page_real import known_of_real, results_of_real, verdicts_of_real
from stages.commands.page_values import beyond_table, modules, results_table, values
from stages.commands.pages import filled, main, pages_of
from stages.reporting.phrases import estimate
from weightgraft.errors import UserError, run_main


@pytest.fixture(scope="module")
def results() -> Results:
    return read_results(ROOT)


def real_run(root, model: str) -> None:
    """What `make real` leaves in a copy of the repository: here the numbers of a tiny model under another name."""
    summary = pd.read_csv(ROOT / "results/summary/tiny-llama-0/fmra.csv").assign(model=model)
    summary.loc[summary["scheme"] == "FE", "estimate"] = 0.123
    (root / f"results/real/summary/{model}-0").mkdir(parents=True)
    summary.to_csv(root / f"results/real/summary/{model}-0/fmra.csv", index=False)


def copied(root) -> None:
    for name in ("params.yaml", "data/published", "results/summary"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / name)


@pytest.mark.parametrize("page", pages_of(ROOT), ids=lambda path: path.name)
def test_a_page_says_what_the_results_say(page, results):
    """Else: make pages"""
    text = page.read_text(encoding="utf-8")
    assert filled(page.name, text, values(), results) == text


@pytest.mark.parametrize("seed", [1, 7], ids=["repeated with another seed", "listed no more"])
def test_the_numbers_are_of_the_studys_own_run(seed, tmp_path, results):
    copied(tmp_path)
    shutil.copytree(
        tmp_path / "results/summary/tiny-gpt2-0",
        tmp_path / f"results/summary/tiny-gpt2-{seed}",
        dirs_exist_ok=True,
    )
    rows = pd.read_csv(tmp_path / f"results/summary/tiny-gpt2-{seed}/fmra.csv")
    rows = rows.assign(estimate=-9.0, seed=seed)
    rows.to_csv(tmp_path / f"results/summary/tiny-gpt2-{seed}/fmra.csv", index=False)
    assert values()["r_both"](read_results(tmp_path)) == values()["r_both"](results)


def test_what_the_study_has_not_is_not_yet_measured(tmp_path):
    copied(tmp_path)
    for table in (tmp_path / "results/summary").glob("*/hybrid.csv"):
        table.unlink()
    here = read_results(tmp_path)
    assert values()["r_task_attention"](here) == values()["real_r_task_attention"](here) == "not yet measured"


def test_every_value_is_on_some_page_but_those_of_models_that_have_not_been_run():
    text = "".join(page.read_text(encoding="utf-8") for page in pages_of(ROOT))
    unused = {name for name in values() if f"<!-- {name} -->" not in text}
    assert all(name.startswith("real_") for name in unused), unused


def test_a_place_is_filled_again_and_again_with_the_same(results):
    text = "a <!-- facts -->old<!-- /facts --> b\n<!-- picture -->\n<!-- results -->\n<!-- /results -->\nc\n"
    known = {"facts": lambda _: "100", "results": lambda _: "| x |\n| y |\n"}
    once = filled("page", text, known, results)
    assert once == (
        "a <!-- facts -->100<!-- /facts --> b\n<!-- picture -->\n"
        "<!-- results -->\n\n| x |\n| y |\n\n<!-- /results -->\nc\n"
    )
    assert filled("page", once, known, results) == once


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<!-- facts --> 100", "page: <!-- facts --> has no other mark"),
        ("100 <!-- /facts -->", "page: <!-- /facts --> has no other mark"),
        ("there are\n  <!-- facts -->100<!-- /facts --> facts", "page: <!-- facts --> begins a line"),
        (
            "<!-- factz -->\n100<!-- /factz -->",
            "page: <!-- factz -->: no such value; page_values.py has facts",
        ),
    ],
)
def test_a_place_without_an_end_or_a_value_or_at_the_start_of_a_line_is_refused(text, named, results):
    with pytest.raises(UserError, match=named):
        filled("page", text, {"facts": lambda _: "100"}, results)


def test_the_table_has_a_row_a_model_and_the_papers_value_in_brackets(results):
    head, _, *rows = results_table(results).splitlines()
    assert head == "| model | `PRE` | `SFT` | `FE` | `LT` | `FE+LT` | `(FE+LT)^C` |"
    summary = pd.read_csv(ROOT / "results/summary/tiny-gemma-0/fmra.csv")
    summary = summary[summary["metric"] == "top5_accuracy"].set_index(["experiment", "prompt", "scheme"])
    published = pd.read_csv(ROOT / "data/published/position_grafting.csv").set_index(
        ["dataset", "model", "prompt", "scheme", "metric"]
    )
    gemma = next(row for row in rows if row.startswith("| tiny-gemma (gemma-1.1-2b-it) |"))
    ours = summary.loc[[("positions", "headline", "FE")], "estimate"].item()
    paper = published.loc[("fmra", "gemma-1.1-2b-it", "headline", "FE", "top5_accuracy"), "value"].item()
    assert gemma.split(" | ")[3] == f"{ours:.2f} ({paper:.2f})"
    assert [row.split(" | ")[0].removeprefix("| ").split(" ")[0] for row in rows[-4:]] == (
        results.params["study"]["models"]
    )


def test_really_pretrained_models_come_first(tmp_path, results):
    copied(tmp_path)
    without = results_table(read_results(tmp_path)).splitlines()
    real_run(tmp_path, "smollm2-135m")
    found = read_results(tmp_path)
    table = results_table(found).splitlines()
    assert table[:2] == without[:2] and table[3:] == without[2:]
    assert table[2].startswith("| **smollm2-135m**") and table[2].split(" | ")[3].startswith("0.12")
    assert values()["real_r_both"](found) == spread(estimates(found.tiny, "FE+LT", models=["tiny-llama"]))


def test_what_was_not_measured_is_said():
    nothing = pd.Series(dtype=float)
    assert spread(nothing) == largest(nothing) == "not yet measured"
    assert (spread(pd.Series([0.501, 0.499])), largest(pd.Series([0.1, -0.3]))) == ("0.50", "0.10")


def test_every_module_is_in_the_list_of_files(results):
    for package in ("weightgraft", "stages"):
        listed = modules(results, package)
        written = [path for path in (ROOT / package).rglob("*.py") if path.read_text().strip()]
        missing = {path for path in written if f"../{path.relative_to(ROOT)})" not in listed}
        # The engine's old name has no docstring: it ends in a line that says the new one.
        assert len(written) > 20 and missing <= {ROOT / "stages/grafting/__init__.py"}


def test_make_pages_writes_what_has_changed_and_says_so(tmp_path, monkeypatch, capsys):
    copied(tmp_path)
    (tmp_path / "README.md").write_text("of <!-- facts -->7<!-- /facts --> facts\n")
    monkeypatch.setattr(sys, "argv", ["pages", "--root", str(tmp_path)])
    for told in ("README.md changed", "nothing changed"):
        run_main(main)
        assert told in capsys.readouterr().out
        assert (tmp_path / "README.md").read_text() == "of <!-- facts -->100<!-- /facts --> facts\n"


def test_claims_beyond_the_paper_have_the_verdicts_of_tiny_and_of_really_pretrained_models(results):
    """Of a tiny model with runs the verdict over them, of others that of the single run."""
    rows = {line.split("]")[0].strip("| ["): line.split(" | ") for line in beyond_table(results).splitlines()}
    over = pd.read_csv(ROOT / "results/runs/over_runs.csv")
    single = [pd.read_csv(path) for path in sorted((ROOT / "results/verdicts").glob("*.csv"))]
    alone = pd.concat([table[~table["model"].isin(over["model"])] for table in single])
    real = [pd.read_csv(path) for path in sorted((ROOT / "results/real/verdicts").glob("*.csv"))]
    for claim in ("N1", "O1", "W1"):
        *_, tiny, pretrained = rows[claim]
        asked = f"prompt == 'all' and claim == '{claim}'"
        others = [word for table in (over, alone) for word in table.query(asked)["verdict"]]
        assert {*tiny.split(", ")} == {f"{others.count(word)} {word}" for word in others}
        told = [f"{row.model}: {row.verdict}" for table in real for row in table.query(asked).itertuples()]
        assert pretrained.strip(" |").split(", ") == told


def test_really_pretrained_models_are_told_by_question_measure_and_verdict(results):
    table = results_of_real(results).splitlines()[2:]
    models = list(dict.fromkeys(results.real["model"]))
    assert len(table) == len(models) * 2 * 2
    told = results.real.query(
        "scheme == 'LT' and experiment == 'positions' and metric == 'recovered_logprob'"
    )
    for row in told[told["prompt"].isin(["headline", "qa"])].itertuples():
        line = next(line for line in table if row.model in line and row.prompt in line and "log-prob" in line)
        assert line.endswith(f"| {estimate(row.estimate, row.low, row.high)} |")
    verdicts = verdicts_of_real(results)
    for model in models:
        judged = pd.read_csv(ROOT / f"results/real/verdicts/{model}-0.csv").query("prompt == 'all'")
        mine = verdicts.partition(f"- {model}:\n")[2].partition("\n- ")[0]
        for verdict, rows in judged.groupby("verdict"):
            line = next(line for line in mine.splitlines() if f" {verdict}:" in line)
            assert {*re.findall(r"\[(\w+)\]", line)} == {*rows["claim"]}


def test_what_pretrained_models_knew_is_told_in_percent_of_each(results, tmp_path):
    nowhere = results._replace(root=tmp_path)
    assert known_of_real(nowhere) == "not yet measured"
    folder = tmp_path / "results/real/metrics/pretrain"
    folder.mkdir(parents=True)
    for model, share in (("a", 0.0011), ("b", 0.25)):
        (folder / f"{model}.json").write_text(f'{{"own_casts_recalled": {share}}}')
    assert known_of_real(nowhere) == "0.1 % (a) and 25.0 % (b)"
