"""Claims about make runs: each run has a world, a base and a finetuning of its own, and what had ended is kept when one fails."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from closure import ROOT

from stages.analysis.replication import LEAST_RUNS
from stages.check_params import check
from stages.commands import runs
from stages.commands.runs import changes_of, make_runs, read_single, runs_of
from stages.study.params import read_yaml, with_changes
from weightgraft.errors import UserError

VALUES = read_yaml(ROOT / "params.yaml")
WANTED = VALUES["beyond"]["runs"]


@pytest.mark.parametrize("model", WANTED)
def test_a_run_is_the_study_of_one_model_with_another_seed_for_world_base_and_finetuning(model):
    for seed in (1, WANTED[model]):
        params = check(
            with_changes(VALUES | {"real": {}}, changes_of(model, seed)), ROOT / "data", reach=False
        )
        assert (params.study.models, params.study.seeds) == ([model], [seed])
        assert params.generate_facts.seed == params.pretrain.seed == seed
        # No other seed, and no setup less: every claim is judged in it.
        assert params.study.repeats.seeds == [] and params.study.setups == VALUES["study"]["setups"]
        assert (
            params.study.recipes == VALUES["study"]["recipes"]
            and params.study.parts == VALUES["study"]["parts"]
        )


def test_no_run_has_the_studys_own_seed_and_every_model_has_enough_of_them():
    every = runs_of(WANTED, [], None)
    assert len(every) == len({*every}) == sum(WANTED.values()) and {model for model, _ in every} == {*WANTED}
    assert VALUES["generate_facts"]["seed"] not in {seed for _, seed in every}
    assert {*WANTED} == {*VALUES["study"]["models"]} and min(WANTED.values()) >= LEAST_RUNS


def test_all_models_first_runs_come_before_their_second_ones():
    wanted = {"a": 3, "b": 2}
    assert runs_of(wanted, [], None) == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]
    assert runs_of(wanted, ["b"], None) == [("b", 1), ("b", 2)]
    assert runs_of(wanted, [], 1) == [("a", 1), ("b", 1)]
    with pytest.raises(UserError, match="'c' has no runs"):
        runs_of(wanted, ["c"], None)


def test_a_run_that_fails_ends_it_and_leaves_what_had_ended(tmp_path, monkeypatch):
    made = []

    def copied(source, copy, changes, cache):
        made.append(copy.name)
        (copy / "results/verdicts").mkdir(parents=True)
        (copy / f"results/verdicts/{copy.name}.csv").write_text(copy.name)

    def ran(command, cwd, env):
        assert command[-2:] == ["--only", "judge_claims"] and len(made) == 3
        return SimpleNamespace(returncode=int(cwd.name == "b-1"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "make_copy", copied)
    monkeypatch.setattr(runs, "recover", lambda copy: None)
    monkeypatch.setattr(subprocess, "run", ran)
    with pytest.raises(UserError, match="the run b-1 failed; what had finished is kept"):
        make_runs([("a", 1), ("b", 1), ("a", 2)], 1, tmp_path / "out")
    # All copies are there before the first run begins: what is edited meanwhile is in none of them.
    assert made == ["a-1", "b-1", "a-2"] and [path.name for path in Path("out").iterdir()] == ["a-1.csv"]


def test_the_runs_of_a_folder_are_read_together(tmp_path):
    with pytest.raises(UserError, match="no run has ended yet"):
        read_single(tmp_path)
    (tmp_path / "verdicts").mkdir()
    for seed in (1, 2):
        pd.DataFrame({"claim": ["C1"], "seed": seed}).to_csv(tmp_path / f"verdicts/a-{seed}.csv", index=False)
    assert read_single(tmp_path)["seed"].tolist() == [1, 2]
