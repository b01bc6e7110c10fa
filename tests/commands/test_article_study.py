"""Claims about make beyond's study of articles as a whole: one run from base to tables, and what is shown of it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from test_article_runs import VALUES, world_in

from stages.analysis.claims import read_claims
from stages.analysis.over_runs import COLUMNS, PATHWAYS, judge_over_runs, mean_over_runs
from stages.check_params import check
from stages.commands import article_runs, beyond, beyond_results, beyond_run
from stages.frame.rows import read_jsonl
from stages.modeling.models import build_model, save_model
from stages.modeling.tokens import train_tokenizer
from stages.plotting.article_runs import articles_figure
from stages.reporting.runs import beyond_figures
from stages.study.params import with_changes
from stages.study.settings import settings_of, write_settings

SMALL = VALUES["models"]["tiny-gpt2"]["architecture"] | {"n_embd": 16, "n_layer": 2, "n_head": 2}
COLOURS = VALUES["render_figures"]["colours"]


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A copy of the repository as a run finds it: settings, facts and a base, of a very small model and world."""
    changes = beyond.changes_of(VALUES["beyond"], VALUES["setups"], ["tiny-gpt2"]) | {
        "models.tiny-gpt2.architecture": SMALL,
        "beyond.articles": VALUES["beyond"]["articles"]
        | {"positions": 512, "batch_size": 40, "base_epochs": 1},
    }
    values = with_changes(VALUES | {"real": {}}, changes)
    monkeypatch.chdir(ROOT)
    params = check(values, ROOT / "data", reach=False)
    write_settings(tmp_path / "runs/settings", settings_of(params, [], []))
    (tmp_path / "params.yaml").write_text(json.dumps(params.model_dump(mode="json")))
    (tmp_path / "data").symlink_to(ROOT / "data")
    facts = world_in(tmp_path / "runs/facts", 6, 4)
    texts = [row["text"] for row in read_jsonl(facts / "texts/base_all.jsonl")]
    tokenizer = train_tokenizer(texts, 500, bos=False)
    save_model(build_model("gpt2", SMALL, tokenizer), tokenizer, tmp_path / "runs/pretrain/tiny-gpt2")
    monkeypatch.setattr(article_runs, "CLOSE", 1)  # of so few texts
    monkeypatch.setattr(
        "sys.argv", ["beyond_run", "--study", "articles", "--model", "tiny-gpt2", "--seed", "1"]
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_grafts_both_models_onto_its_own_base_and_goes_on_where_it_was_killed(copy, monkeypatch):
    bases, scored = [], beyond_run.scored

    def killed_in_the_second(args, grafted, base, folders, out):
        bases.append(base)
        if len(bases) == 2:
            raise KeyboardInterrupt
        return scored(args, grafted, base, folders, out)

    monkeypatch.setattr(beyond_run, "scored", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        beyond_run.main()
    trained = []
    own = article_runs.train_keeping
    monkeypatch.setattr(
        article_runs, "train_keeping", lambda *args, **kwargs: trained.append(own(*args, **kwargs))
    )
    beyond_run.main()
    assert len(bases) == 3 and len({*bases}) == 1 and "articles/tiny-gpt2-1-base" in str(bases[0])
    assert trained == []  # the base was whole
    beyond_run.main()
    assert len(bases) == 3 and not any((copy / ".ckpt").rglob("*.safetensors"))

    runs = [("articles", "tiny-gpt2", 1)]
    table = beyond_results.points_table({"tiny-gpt2": copy}, "articles", runs, resamples=100, seed=0)
    assert {*table["point"]} == {"articles", "short"} and {*table["prompt"]} == {"headline", "qa"}
    for metric in ("top5_accuracy", "top50_accuracy"):
        assert {"PRE", "SFT", *PATHWAYS} <= {*table[table["metric"] == metric]["scheme"]}
    # The base is the same, so PRE is; what was finetuned is not.
    values = table[table["metric"] == "top50_accuracy"].pivot(
        index=["prompt", "scheme"], columns="point", values="estimate"
    )
    assert values.xs("PRE", level="scheme").eval("articles == short").all()
    recovered = table[(table["metric"] == "recovered_logprob") & (table["scheme"] == "FE")]
    assert recovered.groupby("prompt")["estimate"].nunique().eq(2).all()

    trainings = beyond_results.trainings_table({"tiny-gpt2": copy}, "articles", runs)
    assert trainings["training"].tolist() == ["articles", "short"] and trainings["updates"].nunique() == 1
    assert trainings["base_recall"].nunique() == 1
    assert beyond_results.trainings_table({"tiny-gpt2": copy}, "texts", [("texts", "tiny-gpt2", 1)]) is None


@pytest.fixture
def table() -> pd.DataFrame:
    """Three runs of two models: after articles FE recovers less."""
    rng, rows = np.random.default_rng(0), []
    centre = {"SFT": 0.95, "FE": 0.6, "LT": 0.6, "FE+LT": 0.98, "(FE+LT)^C": 0.02}
    for model in ("tiny-gpt2", "tiny-gemma"):
        for seed in (1, 2, 3):
            for point in ("articles", "short"):
                for prompt in ("headline", "qa"):
                    for scheme, value in centre.items():
                        shares = ["top5_accuracy", "top50_accuracy"] if scheme == "SFT" else []
                        others = ["recovered_logprob", "recovered_logit_difference", "recovered_top5"]
                        for metric in shares or others:
                            found = (
                                value
                                - 0.2 * (scheme in ("FE", "LT") and point == "articles")
                                + rng.normal(0, 0.003)
                            )
                            row = (
                                model,
                                seed,
                                point,
                                prompt,
                                scheme,
                                metric,
                                100,
                                found,
                                found - 0.1,
                                found + 0.1,
                            )
                            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return pd.DataFrame(rows)


def test_the_figure_shows_each_pathway_after_articles_filled_and_after_short_texts_hollow(table):
    figure = articles_figure(table, COLOURS)
    (axes, *_), panels = figure.axes, len(figure.axes)
    assert panels == 4 and [label.get_text() for label in axes.get_yticklabels()] == ["SFT, top-5", *PATHWAYS]
    of_fe = [line for line in axes.lines if line.get_marker() == "o"]
    shown = {line.get_markerfacecolor() == "white": line.get_xdata()[0] for line in of_fe}
    chosen = table[
        (table["model"] == "tiny-gpt2") & (table["prompt"] == "headline") & (table["scheme"] == "FE")
    ]
    chosen = chosen[chosen["metric"] == "recovered_logprob"].groupby("point")["estimate"]
    means = {point: mean_over_runs(values)[0] for point, values in chosen}
    assert (
        shown == pytest.approx({False: means["articles"], True: means["short"]})
        and shown[False] < shown[True]
    )
    dots = [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "."]
    assert dots == [3] * 2 * (1 + len(PATHWAYS))


def test_pathways_are_drawn_only_where_enough_runs_know_the_facts(table):
    """In one of three runs the twin does not know them: of the twin SFT alone is shown."""
    ignorant = (table["seed"] == 2) & (table["point"] == "short") & (table["scheme"] == "SFT")
    figure = articles_figure(table.assign(estimate=table["estimate"].mask(ignorant, 0.1)), COLOURS)
    for axes in figure.axes:
        markers = [line.get_marker() for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert [marker for marker in markers if marker in ("D", "o", "s", "^", "v")] == ["D"]


def test_the_page_says_what_was_known_what_came_back_and_how_alike_the_trainings_were(table, tmp_path: Path):
    claims = read_claims(ROOT / "data/claims.yaml").over_runs
    verdicts = judge_over_runs(claims, "articles", table)
    whole = verdicts[verdicts["prompt"] == "all"]
    assert {*whole["claim"]} == {"A1", "A2"} and {*whole["verdict"]} == {"holds"}
    table.to_csv(tmp_path / "articles.csv", index=False)
    verdicts.to_csv(tmp_path / "articles_verdicts.csv", index=False)
    trainings = [
        {"model": model, "seed": seed, "training": name, "tokens": tokens, "base_recall": 0.9875}
        for model in ("tiny-gpt2", "tiny-gemma")
        for seed in (1, 2, 3)
        for name, tokens in (("articles", 1000), ("short", 1000 + 2 * seed))
    ]
    pd.DataFrame(trainings).to_csv(tmp_path / "articles_trainings.csv", index=False)
    (shown,) = beyond_figures(tmp_path, lambda path: {"uri": path.name})
    first, second, known, recovered, alike = shown["sentences"]
    assert first.startswith("A1, finetuned on articles") and second.startswith(
        "A2, r(FE), r(LT) below those of the short twin"
    )
    assert "top-5 accuracy tiny-gpt2 0.95 and 0.95" in known and "r(FE) tiny-gpt2 0.40 and 0.60" in recovered
    assert "at most 0.6% of their tokens" in alike and "at least 98.8% of their own casts" in alike
