"""Claims about make beyond: its study is valid, its runs are what params.yaml says, each recipe is told under its own name."""

import itertools
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from closure import ROOT

from stages.analysis.claims import read_claims
from stages.analysis.over_runs import COLUMNS, SCHEMES, judge_over_runs, mean_over_runs
from stages.check_params import check
from stages.commands import beyond, beyond_run
from stages.commands.beyond import changes_of, chosen_models, copies_of
from stages.commands.beyond_results import OVER_RUNS, frozen_table, judge, runs_of
from stages.facts.world import Fact
from stages.frame.rows import write_jsonl
from stages.generate_facts import cast_texts
from stages.plotting.runs import SERIES, frozen_figure, points_figure
from stages.reporting.runs import beyond_figures, frozen_sentences
from stages.study.checking.beyond import check_beyond
from stages.study.faults import parsed
from stages.study.params import read_yaml, with_changes
from stages.study.schema import Params
from weightgraft.errors import UserError

VALUES = read_yaml(ROOT / "params.yaml")
SECTION, COLOURS = VALUES["beyond"], VALUES["render_figures"]["colours"]
FIELDS = ("movie_title", "release_year", "genre", "city", "main_character", "box_office_earnings", "director")


@pytest.mark.parametrize("models", [[*VALUES["study"]["models"]], ["smollm2-135m"]], ids=" ".join)
def test_the_study_of_a_copy_is_valid_and_asks_both_recipes_alike(models):
    changes = VALUES["real"].get(models[0], {}) | changes_of(SECTION, VALUES["setups"], models)
    params = check(with_changes(VALUES | {"real": {}}, changes), ROOT / "data", reach=False)
    one, other = (params.setups[name].model_dump() for name in ("frozen_tables", beyond_run.SETUP))
    assert (one.pop("donors"), other.pop("donors")) == ({"sft": "frozen_tables"}, {"sft": "fmra"})
    assert one == other and beyond_run.EXPERIMENT in one["experiments"]
    recipes = [params.recipes[name] for name in ("fmra", "frozen_tables")]
    assert [recipe.frozen for recipe in recipes] == [[], ["embed", "unembed"]]


def test_no_run_has_the_seed_of_the_pilots_and_claims_get_the_runs_they_ask_for():
    assert SECTION["articles"]["models"] == SECTION["texts"]["models"]
    for study in ("trajectory", "frozen_tables"):
        assert {*SECTION[study]["models"]} == {*VALUES["study"]["models"], "smollm2-135m"}
    assert len(SECTION["texts"]["models"]) == 2
    for study, least in (("trajectory", 3), ("texts", 5), ("articles", 3)):
        seeds = SECTION[study]["seeds"]
        assert 0 not in seeds and len({*seeds}) == len(seeds) >= least
    models = chosen_models(SECTION, ["texts"], ["tiny-gemma"], VALUES["models"])
    assert runs_of(SECTION, models, "texts")[:2] == [("texts", "tiny-gemma", 1), ("texts", "tiny-gemma", 2)]
    with pytest.raises(UserError, match="tiny-gpt3"):
        chosen_models(SECTION, ["texts"], ["tiny-gpt3"], VALUES["models"])


def test_really_pretrained_models_take_part_only_where_they_are_named():
    studies, smollm = ["trajectory", "texts"], "smollm2-135m"
    models = chosen_models(SECTION, studies, [], VALUES["models"])
    assert models == {
        "trajectory": VALUES["study"]["models"],
        "texts": SECTION["texts"]["models"],
    }
    named = chosen_models(SECTION, studies, [smollm], VALUES["models"])
    assert named == {"trajectory": [smollm], "texts": []}
    no_source = {name: {"source": None, **model} for name, model in VALUES["models"].items()}
    assert chosen_models(SECTION, studies, [], no_source) == models


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("frozen_tables.recipe", "fmfa", "'fmfa' must have `frozen`"),
        ("frozen_tables.beside", "frozen_tables", "must not"),
        (
            "trajectory.models",
            ["gpt9"],
            "beyond.trajectory.models: 'gpt9' is not declared, or not trained here",
        ),
        ("texts.models", ["smollm2-135m"], "beyond.texts.models: 'smollm2-135m' is not"),
        ("trajectory.recipe", "lora", "it must be that of frozen_tables.beside"),
        ("texts.seeds", [1, 1], "one is there twice"),
        ("texts.forms", [1, 2], "beyond.texts.forms"),
        (
            "articles.models",
            ["gpt2-xl"],
            "beyond.articles.models: 'gpt2-xl' is not declared, or not trained here",
        ),
        (
            "articles.recipe",
            "lora",
            "beyond.articles.recipe is 'lora'; it must be that of frozen_tables.beside",
        ),
        ("articles.seeds", [2, 2], "beyond.articles.seeds is [2, 2]: one is there twice"),
        ("articles.positions", 100, "is 100; models.tiny-gpt2.architecture.n_positions is 128 already"),
        ("articles.positons", 256, "unknown key 'beyond.articles.positons'; did you mean 'positions'"),
        ("articles.epochs", 0, "beyond.articles.epochs"),
    ],
)
def test_what_make_beyond_cannot_train_is_told_before_any_work(key, value, words):
    with pytest.raises(UserError) as told:
        check_beyond(parsed(Params, with_changes(VALUES, {f"beyond.{key}": value})))
    assert words in str(told.value) and "\n" not in str(told.value)


@pytest.fixture
def item(tmp_path, monkeypatch) -> dict:
    """Settings of finetuning, among 8 facts that are told as the stage does."""
    facts = [
        {"fact_id": i, "first_actor": f"Ann {i}", "second_actor": f"Bob {i}", "half": "ab"[i % 2]} | dict.fromkeys(FIELDS, "x")
        for i in range(8)
    ]  # fmt: skip
    told = cast_texts([Fact(**fact) for fact in facts], ["{first_actor} and {second_actor}."] * 2)
    write_jsonl(tmp_path / "facts/fmra.jsonl", facts)
    write_jsonl(tmp_path / "texts/fmra.jsonl", told)
    monkeypatch.setattr(beyond_run, "FACTS", tmp_path)
    monkeypatch.chdir(ROOT)
    own = {
        "finetune": VALUES["models"]["tiny-gpt2"]["finetune"] | {"num_train_epochs": 5},
        "base_forms": "all",
    }
    return {"model": own, "recipe": VALUES["recipes"]["fmra"]}


def test_points_are_equal_shares_of_the_recipes_own_updates(item):
    (training,) = beyond_run.trajectory({"points": 10}, item, seed=1)
    assert len(training.texts) == 32 and [*training.points] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert [*training.points.values()] == pytest.approx([share / 10 for share in range(1, 11)])


def test_however_many_forms_tell_a_fact_there_are_as_many_updates_and_whole_epochs(item):
    trainings = beyond_run.texts({"forms": [1, 2, 4, 8, 12], "updates": 48}, item, seed=1)
    sizes = [len(training.texts) for training in trainings]
    assert sizes == [16 * number for number in (1, 2, 4, 8, 12)]
    assert [training.settings["num_train_epochs"] for training in trainings] == [24, 12, 6, 3, 2]
    assert [training.points for training in trainings] == [{48: number} for number in (1, 2, 4, 8, 12)]
    assert all({*few.texts} < {*many.texts} for few, many in pairwise(trainings))
    assert not any("A: An actor named" in text for training in trainings for text in training.texts)


def scores(value: float) -> pd.DataFrame:
    """Per-fact rows in which every scheme but PRE and SFT recovers `value`."""
    rows = [
        {
            **{
                "model": "tiny-gpt2",
                "seed": 0,
                "setup": "s",
                "dataset": "d",
                "experiment": beyond_run.EXPERIMENT,
            },
            **{"prompt": prompt, "template": prompt, "template_split": "seen", "direction": "ab", "draw": 0},
            **{"scheme": scheme, "fact_id": fact, "target_rank": 3, "foil_logit": 0.0},
            **{"target_logprob": -4 + 4 * share, "target_logit": share},
        }
        for prompt in ("headline", "qa")
        for scheme, share in {**dict.fromkeys(SCHEMES, value), "PRE": 0.0, "SFT": 1.0}.items()
        for fact in range(4)
    ]
    return pd.DataFrame(rows)


def test_frozen_and_trained_tables_are_not_taken_for_one_another(tmp_path, monkeypatch):
    folder = tmp_path / "runs/graft/tiny-gpt2-0"
    folder.mkdir(parents=True)
    scores(0.75).to_parquet(folder / "frozen_tables.parquet")
    scores(0.25).to_parquet(folder / f"{beyond_run.SETUP}.parquet")
    copies = {"tiny-gpt2": tmp_path}
    table = frozen_table(copies, SECTION["frozen_tables"], ["tiny-gpt2"], resamples=100, seed=0)
    found = table[table["metric"] == "recovered_logprob"].groupby("recipe")["estimate"].unique()
    assert found["frozen_tables"].tolist() == [0.75] and found["fmra"].tolist() == [0.25]
    figure = frozen_figure(table, COLOURS)
    drawn = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() in "os^v"]
    assert drawn == [0.25] * 8 + [0.75] * 8
    # The words beside a row's first panel are of all its panels: each of them runs from top to bottom.
    both = pd.concat([table, table.assign(model="tiny-llama", n=3)])
    figure = frozen_figure(both, COLOURS)
    assert len(figure.axes) == 4
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["n = 4", "n = 3", "", ""]
    assert all(
        axes.get_ylim()[0] > axes.get_ylim()[1] and axes.get_xlim() == figure.axes[0].get_xlim()
        for axes in figure.axes
    )
    both.to_csv(tmp_path / "frozen_tables.csv", index=False)
    told = "fmra 0.25 [0.25, 0.25], frozen_tables 0.75 [0.75, 0.75]"
    assert frozen_sentences(tmp_path)[0] == (
        f"FE+LT on headline: tiny-gpt2 (n = 4) {told}; tiny-llama (n = 3) {told}."
    )


def test_tables_are_drawn_again_as_they_are_and_nothing_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for name in ("texts.csv", "texts_verdicts.csv"):
        shutil.copy(ROOT / "results/beyond" / name, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(sys, "argv", ["beyond", "--as-they-are", "--out", str(tmp_path)])
    beyond.main()
    assert capsys.readouterr().out == f"beyond: {tmp_path}: figures of texts\n"
    drawn = {tmp_path / f"texts.{ending}" for ending in ("png", "svg")}
    assert {*tmp_path.iterdir()} == {*before} | drawn
    assert {path: path.read_bytes() for path in before} == before
    assert all(path.stat().st_size > 10_000 for path in drawn)


@pytest.mark.parametrize("study", OVER_RUNS)
def test_the_verdicts_in_git_are_those_of_the_table_in_git(tmp_path, monkeypatch, study):
    """Whichever models' runs were made last."""
    monkeypatch.chdir(ROOT)
    shutil.copy(ROOT / f"results/beyond/{study}.csv", tmp_path)
    judge(tmp_path)
    committed = ROOT / f"results/beyond/{study}_verdicts.csv"
    assert (tmp_path / committed.name).read_bytes() == committed.read_bytes()


def test_a_really_pretrained_model_has_a_copy_of_its_own(tmp_path):
    models = {"trajectory": ["tiny-gpt2", "smollm2-135m"], "texts": ["tiny-gemma"]}
    copies = copies_of(models, VALUES["models"], tmp_path)
    tiny = tmp_path / "tiny"
    assert copies == {"tiny-gpt2": tiny, "tiny-gemma": tiny, "smollm2-135m": tmp_path / "smollm2-135m"}


def test_texts_shows_pathways_only_where_three_runs_know_the_facts():
    rows = []
    for seed, point in itertools.product((1, 2, 3, 4), (1, 4, 8)):
        knows = {1: 0.3, 4: 0.95 if seed < 3 else 0.5, 8: 0.95 if seed < 4 else 0.5}[point]
        for scheme in ("SFT", *SERIES["texts"]):
            metric, value = ("top5_accuracy", knows) if scheme == "SFT" else ("recovered_logprob", seed / 10)
            row = ("tiny-gpt2", seed, point, "headline", scheme, metric, 9, value, value - 0.1, value + 0.1)
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    axes = points_figure("texts", pd.DataFrame(rows), COLOURS).axes[0]
    (sft,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [*sft.get_xdata()] == [1, 4, 8]
    (fe,) = [line for line in axes.lines if line.get_marker() == "o" and line.get_linestyle() == "-"]
    assert fe.get_xdata() == pytest.approx([8 * 0.95]) and fe.get_ydata() == pytest.approx([0.2])


def test_a_line_is_the_mean_over_runs_in_the_order_of_the_points_and_a_page_says_the_verdicts(tmp_path: Path):
    rng, rows = np.random.default_rng(0), []
    for seed in (1, 2, 3):
        for point in (1.0, 0.1, 0.5):
            for prompt in ("headline", "qa"):
                for scheme in ("SFT", *SERIES["trajectory"]):
                    metric = "top5_accuracy" if scheme == "SFT" else "recovered_logprob"
                    value = rng.random() / 2 + 0.2 * (scheme == "LT | layers")
                    row = (
                        "tiny-gpt2",
                        seed,
                        point,
                        prompt,
                        scheme,
                        metric,
                        9,
                        value,
                        value - 0.1,
                        value + 0.1,
                    )
                    rows.append(dict(zip(COLUMNS, row, strict=True)))
    table = pd.DataFrame(rows)
    axes = points_figure("trajectory", table, COLOURS).axes[0]
    (line,) = [line for line in axes.lines if line.get_marker() == "s"]
    chosen = table[(table["prompt"] == "headline") & (table["scheme"] == "LT | layers")]
    expected = [mean_over_runs(rows["estimate"])[0] for _, rows in chosen.groupby("point")]
    assert line.get_ydata() == pytest.approx(expected) and [*line.get_xdata()] == [0.1, 0.5, 1.0]

    assert beyond_figures(tmp_path, lambda path: {"uri": path.name}) == []
    table.to_csv(tmp_path / "trajectory.csv", index=False)
    claims = read_claims(ROOT / "data/claims.yaml").over_runs
    both = pd.concat([table.assign(metric=name) for name in ("recovered_logit_difference", "recovered_top5")])
    both = pd.concat([table, both[both["scheme"] != "SFT"]])
    verdicts = judge_over_runs(claims, "trajectory", both.assign(low=0.6))
    verdicts.to_csv(tmp_path / "trajectory_verdicts.csv", index=False)
    (shown,) = beyond_figures(tmp_path, lambda path: {"uri": path.name})
    assert shown["uri"] == "trajectory.png" and shown["sentences"][0].startswith("L1, at the first point")
    assert "over 3 runs" in shown["sentences"][0]
