"""Claims about `make families`: the balance is LT less FE on the same facts, and every model is drawn, the first on top."""

from pathlib import Path

import pandas as pd
import pytest
from made_up_tables import random_scores

from stages.commands.families import BALANCE, BALANCES, PROMPTS, SCHEMES, balances, families_figure
from stages.study.params import read_yaml

MODELS = {"tiny-gpt2": "tiny-gpt2", "chain-rotary": "rotary positions"}
COLOURS = read_yaml(Path("params.yaml"))["render_figures"]["colours"]


@pytest.fixture
def table(tmp_path):
    for seed, model in enumerate(MODELS):
        (tmp_path / f"{model}-0").mkdir()
        scores = random_scores(seed=seed).assign(model=model)
        positions, forms = scores[scores["experiment"] == "positions"], [scores]
        for shift, (experiment, *_) in enumerate([*BALANCES.values()][1:], start=1):
            other = positions.assign(experiment=experiment)
            other.loc[other["scheme"] == "FE", "target_logprob"] -= shift  # another balance than as grafted
            names = dict(zip(("LT", "FE"), [*BALANCES.values()][shift][1:], strict=True))
            forms.append(other.assign(scheme=other["scheme"].replace(names)))
        pd.concat(forms).to_parquet(tmp_path / f"{model}-0/fmra.parquet")
    return balances(tmp_path, MODELS, {"resamples": 200, "seed": 0})


def test_the_balance_is_what_lt_recovers_less_what_fe_recovers(table):
    assert len(table) == len(MODELS) * len(PROMPTS) * (len(SCHEMES) + len(BALANCES))
    wide = table.pivot(index=["model", "prompt"], columns="scheme", values="estimate")
    assert wide[BALANCE].to_numpy() == pytest.approx((wide["LT"] - wide["FE"]).to_numpy())
    one, two, three = (wide[name].to_numpy() for name in BALANCES)
    assert (two > one).all() and three - two == pytest.approx(two - one)
    assert wide[BALANCE].abs().min() > 1e-3 and (table["low"] <= table["high"]).all()


def test_the_first_model_stands_on_top_and_the_balance_is_drawn_as_it_is(table):
    figure = families_figure(table, COLOURS)
    for row, prompt in enumerate(PROMPTS):
        recovered, balance = figure.axes[2 * row : 2 * row + 2]
        assert [label.get_text() for label in recovered.get_yticklabels()] == [*MODELS.values()]
        bottom, top = recovered.get_ylim()
        assert bottom > top and "n = 30" in recovered.get_ylabel()
        expected = table[(table["prompt"] == prompt) & (table["scheme"] == BALANCE)]["estimate"].tolist()
        drawn = [line.get_xdata()[0] for line in balance.lines if line.get_marker() == "D"]
        assert drawn == expected
