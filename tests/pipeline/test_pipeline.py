"""Claims about the pipeline as a whole, at smoke size, in copies in temporary directories."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from smoke_studies import LAUNCH, ROOT, SMOKE, SRUN, WHOLE

from stages.commands.quick import change_params, dvc, make_copy
from stages.commands.repro import stale_items
from stages.facts.own import read_own
from stages.study.items import summary_items
from stages.study.params import read_yaml

AT_THE_END = {"judge_claims", "render_figures", "write_report"}


def items(*stages: str, models: tuple[str, ...] = ("tiny-gpt2", "tiny-llama")) -> set[str]:
    """The names of the smoke study's items of some stages."""
    named = {"pretrain": "{}", "finetune": "{}-0-fmra", "graft": "{}-0", "summarize": "{}-0"}
    return {f"{stage}@{named[stage].format(model)}" for stage in stages for model in models}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def committed_bytes() -> dict[Path, bytes]:
    kept = [ROOT / "dvc.lock", *files(ROOT / "results"), *files(ROOT / "figures")]
    return {path: path.read_bytes() for path in kept}


def repro(copy: Path, *targets: str) -> set[str]:
    """Run the copy's pipeline, or these items and what they need; the names of the stages that ran."""
    done = dvc(copy, "repro", *targets, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-3000:]
    return set(re.findall(r"Running stage '([^']+)'", done.stdout))


def stale(copy: Path) -> set[str]:
    """The names of the stages that would run: facts are made, and DVC is asked about the rest, as `make repro` does."""
    done = dvc(
        copy, "repro", "generate_facts", "read_facts", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout[-3000:]
    waiting = {item.rpartition(":")[2] for item in stale_items(copy)}  # named from where the tests run
    return {*re.findall(r"Running stage '([^']+)'", done.stdout), *waiting}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, warm_python) -> Path:
    """The whole pipeline, run once at smoke size."""
    copy = tmp_path_factory.mktemp("smoke") / "study"
    default = committed_bytes()
    make_copy(ROOT, copy, SMOKE, cache=Path("../cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(warm_python))
        ran = repro(copy)
    assert committed_bytes() == default  # a throw-away run touches neither the default's results nor its lock
    assert ran == {
        "check_params",
        "fetch_films",
        "generate_facts",
        "read_facts",
        *items("pretrain", "finetune", "graft", "summarize"),
        *AT_THE_END,
    }
    return copy


@pytest.fixture
def study(finished: Path, tmp_path: Path, warm_python: Path, monkeypatch) -> Path:
    """A copy of the finished run, for one change."""
    monkeypatch.setattr(sys, "executable", str(warm_python))
    shutil.copytree(finished.parent, tmp_path / "smoke", symlinks=True)
    return tmp_path / "smoke" / finished.name


def test_the_pipeline_ends_with_figures_summaries_and_metrics(finished):
    for name in ("figure1", "figure2", "figure_title"):
        for suffix in (".png", ".svg"):
            assert (finished / "figures" / (name + suffix)).stat().st_size > 10_000
    shown = dvc(finished, "metrics", "show", "--json", capture_output=True)
    assert (finished / "results/report.html").stat().st_size > 100_000
    assert "own_casts_recalled" in shown.stdout and "tiny-llama-0-fmra" in shown.stdout


def test_every_fact_is_evaluated_under_every_scheme(finished):
    tables = list((finished / "runs/graft").glob("*/*.parquet"))
    summaries = list((finished / "results/summary").glob("*/*.csv"))
    assert len(tables) == len(summaries) == len(SMOKE["study.models"])
    for path in tables:
        scores = pd.read_parquet(path)
        facts_of = scores.groupby(["experiment", "template", "scheme"])["fact_id"].agg(
            lambda ids: tuple(sorted(set(ids)))  # a random control has a row a draw
        )
        assert set(facts_of) == {tuple(range(SMOKE["generate_facts.facts"]))}
    for path in summaries:
        assert set(pd.read_csv(path)["n"]) == {SMOKE["generate_facts.facts"]}


def test_make_figures_redraws_from_the_summaries_alone(study):
    shutil.rmtree(study / "runs")
    shutil.rmtree(study.parent / "cache")
    before = {path: path.read_bytes() for path in files(study / "figures")}
    recipe = (ROOT / "Makefile").read_text().split("\nfigures:")[1].split("\n\n")[0]
    commands = re.findall(r"\tdvc (.*)", recipe)
    assert commands
    for command in commands:
        done = dvc(study, *command.split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
    assert {path: path.read_bytes() for path in files(study / "figures")} == before and before
    assert not (study / "runs/pretrain").exists()


def test_nothing_changed_means_nothing_runs(study):
    assert repro(study) == set()


def test_a_colour_redraws_the_figures_only(study):
    change_params(study / "params.yaml", {"render_figures.colours.FE": "#123456"})
    assert stale(study) == {"check_params", "render_figures", "write_report"}


def test_a_new_scheme_evaluates_again_and_trains_nothing(study):
    schemes = ["PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C", "R^C"]
    change_params(study / "params.yaml", {"experiments.positions.schemes": schemes})
    assert stale(study) == {"check_params", *items("graft", "summarize"), *AT_THE_END}


def test_one_models_learning_rate_trains_that_model_only(study):
    change_params(study / "params.yaml", {"models.tiny-llama.finetune.learning_rate": 0.004})
    assert stale(study) == {
        "check_params",
        *items("finetune", "graft", "summarize", models=("tiny-llama",)),
        *AT_THE_END,
    }


def test_a_prompt_template_asks_again_and_trains_nothing(study):
    prompts = study / "data/templates/prompts.yaml"
    prompts.write_text(
        prompts.read_text().replace("[stars in a movie] alongside", "[stars in a film] alongside")
    )
    assert stale(study) == {"check_params", "generate_facts", *items("graft", "summarize"), *AT_THE_END}


def test_a_training_template_trains_everything_again(study):
    forms = study / "data/templates/training.yaml"
    forms.write_text(forms.read_text().replace("It was shot in {city}", "It was made in {city}"))
    assert stale(study) == {
        "check_params",
        "generate_facts",
        *items("pretrain", "finetune", "graft", "summarize"),
        *AT_THE_END,
    }


def test_facts_of_ones_own_run_beside_the_study_and_touch_nothing_of_it(study):
    before = {path: path.read_bytes() for path in files(study / "results/summary")}
    short = {"recipes.own.epochs_factor": 1}
    change_params(study / "params.yaml", short | {"study.models": ["tiny-gpt2"], "study.own": ["own"]})
    of_own = {"read_facts", "finetune_own@tiny-gpt2-0-own"}
    after = {*items("graft", "summarize", models=("tiny-gpt2",)), *AT_THE_END}
    assert repro(study) == {"check_params", *of_own, *after}
    assert {path: path.read_bytes() for path in before} == before
    summary = pd.read_csv(study / "results/summary/tiny-gpt2-0/own.csv")
    own = read_own(ROOT / "examples/inventors")
    assert set(summary["n"]) == {len(own.facts)} and set(summary["dataset"]) == {"own"}
    assert list(summary["prompt"].unique()) == [prompt.name for prompt in own.prompts]
    assert {"PRE", "SFT", "FE+LT", "(FE+LT)^C"} <= set(summary["scheme"])
    assert (study / "figures/figure_own.png").stat().st_size > 10_000
    page = (study / "results/report.html").read_text()
    assert f"n = {len(own.facts)} facts" in page and "40 facts of your own" in page

    facts = study / "examples/inventors/facts.csv"
    facts.write_text(facts.read_text() + "Ada Zimm,the tin moon,Zellinge,1801\n")
    assert stale(study) == {"check_params", *of_own, *after}


def test_facts_that_no_recipe_trains_on_are_read_and_nothing_else_runs(study):
    facts = study / "examples/inventors/facts.csv"
    facts.write_text(facts.read_text() + "Ada Zimm,the tin moon,Zellinge,1801\n")
    assert repro(study) == {"check_params", "read_facts"}
    facts.write_text(facts.read_text() + "Ida Zimm,,Zellinge,1802\n")
    done = dvc(study, "repro", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "facts.csv, line 43: column 'invention' is empty" in done.stdout and "Traceback" not in done.stdout
    assert re.findall(r"Running stage '([^']+)'", done.stdout) == ["check_params"]


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        (
            "study.models",
            ["tiny-gpt3"],
            "study.models: 'tiny-gpt3' is not declared; did you mean 'tiny-gpt2'?",
        ),
        (
            "models.tiny-llama.finetune.learning_rate",
            "fast",
            "models.tiny-llama.finetune.learning_rate is 'fast'",
        ),
        ("experiments.title.prompts", ["headline"], "'M', which prompt 'headline' does not have"),
    ],
)
def test_bad_params_stop_the_run_before_any_work_and_nothing_is_lost(study, key, value, named):
    before = {path: path.read_bytes() for folder in ("runs", "results") for path in files(study / folder)}
    change_params(study / "params.yaml", {key: value})
    done = dvc(study, "repro", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode != 0 and named in done.stdout and "Traceback" not in done.stdout
    assert re.findall(r"Running stage '([^']+)'", done.stdout) == ["check_params"]
    before = {
        path: text for path, text in before.items() if "settings" not in path.parts
    }  # DVC removes them first
    assert {path: path.read_bytes() for path in before if path.exists()} == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory, warm_python) -> Path:
    """One item, at least, of everything, by make repro, behind the stand-in for srun, which leaves what it was asked in `asked`."""
    folder = tmp_path_factory.mktemp("whole")
    copy, srun = folder / "study", folder / "srun"
    make_copy(ROOT, copy, WHOLE | LAUNCH, cache=Path("../cache"))
    srun.write_text(SRUN)
    srun.chmod(0o755)
    (copy / ".venv").mkdir()
    (copy / ".venv/ready").touch()  # the environment is the one that runs the tests
    path = f"{folder}:{warm_python.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "repro"],
        cwd=copy,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(copy)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return copy


def test_make_repro_runs_everything_that_the_study_lists_behind_any_prefix(whole):
    """Two models train side by side, each by a start of its own, as a cluster needs it."""
    asked = (whole.parent / "asked").read_text().splitlines()
    assert all(line.startswith("--ntasks=1 ") for line in asked)
    started = Counter(word for line in asked for word in line.split() if word.startswith("stages."))
    assert started == {"stages.pretrain": 2, "stages.finetune": 10, "stages.graft": 3}
    study = read_yaml(whole / "params.yaml")["study"]
    listed = {f"{model}-{seed}/{setup}.csv" for model, seed, setup in summary_items(study)}
    summaries = whole / "results/summary"
    assert {str(path.relative_to(summaries)) for path in summaries.glob("*/*")} == listed
    assert len(listed) == 15
    assert dvc(whole, "status", capture_output=True).stdout.strip() == "Data and pipelines are up to date."


def test_claims_are_judged_on_all_models_and_seeds(whole):
    verdicts = pd.concat(pd.read_csv(path) for path in (whole / "results/verdicts").iterdir())
    assert set(verdicts["model"]) == {"tiny-gpt2", "tiny-gpt2-new"} and set(verdicts["seed"]) == {0, 1}
    assert "C14" in set(verdicts["claim"])


@pytest.fixture(scope="module")
def from_scratch(tmp_path_factory) -> Path:
    """One model from its facts to its summary, every process from scratch."""
    copy = tmp_path_factory.mktemp("scratch") / "study"
    make_copy(ROOT, copy, SMOKE | {"study.models": ["tiny-gpt2"]}, cache=Path("../cache"))
    ran = repro(copy, "summarize@tiny-gpt2-0")
    ends = items("pretrain", "finetune", "graft", "summarize", models=("tiny-gpt2",))
    assert ran == {"check_params", "fetch_films", "generate_facts", "read_facts", *ends}
    return copy


@pytest.mark.parametrize(
    "result",
    [
        "metrics/pretrain/tiny-gpt2.json",
        "metrics/finetune/tiny-gpt2-0-fmra.json",
        "summary/tiny-gpt2-0/fmra.csv",
    ],
)
def test_runs_from_scratch_by_dvc_repro_and_by_make_repro_give_the_same_bytes(
    from_scratch, finished, whole, result
):
    """`finished` and `whole` ran beside other items, and their processes began otherwise (warm.py)."""
    expected = (from_scratch / "results" / result).read_bytes()
    assert (finished / "results" / result).read_bytes() == expected
    assert (whole / "results" / result).read_bytes() == expected
