"""Claims about make real and make demo: what a copy found is published whole, a bad study of theirs is told before any work."""

import shutil
import sys

import pandas as pd
import pytest
from closure import ROOT

from stages.check_params import check
from stages.commands import real
from stages.commands.demo import MODEL, SHOWN, changes_of, scheme_table
from stages.commands.quick import own_changes
from stages.commands.real import publish
from stages.facts.own import read_own
from stages.plotting.results import read_real
from stages.reporting.sources import read_real_verdicts
from stages.study.params import read_yaml, with_changes
from weightgraft.errors import UserError


def made_up_copy(folder, model: str, text: str) -> None:
    files = {
        "summary": f"{model}-0/fmra.csv",
        "verdicts": f"{model}-0.csv",
        "metrics": f"graft/{model}-0.json",
    }
    for kind, name in files.items():
        path = folder / "results" / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lock = f"schema: '2.0'\nstages:\n  graft:\n    cmd: {text}\n"
    (folder / "dvc.lock").write_text(f"{lock}  write_report:\n    cmd: {text}\n")
    (folder / "results/run_time.csv").touch()


def test_a_new_run_takes_the_place_of_the_models_old_one_and_of_no_other(tmp_path):
    out = tmp_path / "out"
    others = ("gemma-3-270m", "smollm2-135m-instruct")
    for model in ("smollm2-135m", *others):
        made_up_copy(tmp_path / model, model, "old")
        publish(tmp_path / model, model, out)
    (out / "summary/smollm2-135m-0/gone.csv").write_text("of an earlier study")
    made_up_copy(tmp_path / "smollm2-135m", "smollm2-135m", "new")
    publish(tmp_path / "smollm2-135m", "smollm2-135m", out)
    found = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert (
        found
        == {
            f"{name.format(model)}": text.format("new" if model == "smollm2-135m" else "old")
            for model in ("smollm2-135m", *others)
            for name, text in {
                **dict.fromkeys(
                    ("summary/{}-0/fmra.csv", "verdicts/{}-0.csv", "metrics/graft/{}-0.json"), "{}"
                ),
                "{}.lock": "schema: '2.0'\nstages:\n  graft:\n    cmd: {}\n",  # and no report, which is the copy's own
            }.items()
        }
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"generate_facts.world": "reel"}, "generate_facts.world is 'reel'; did you mean 'real'?"),
        ({"study.recipes": ["fmrb"]}, "study.recipes: 'fmrb' is not declared"),
        ({"studies.recipes": []}, "no section 'studies'"),
        ({"generate_facts.facts": 4000, "generate_facts.base_facts": 4000}, "generate_facts"),
    ],
)
def test_a_study_of_make_real_that_cannot_be_is_told_with_its_name_before_any_work(changes, named):
    values = read_yaml(ROOT / "params.yaml")
    values["real"]["smollm2-135m"] |= changes
    with pytest.raises(UserError) as told:
        check(values, ROOT / "data")
    assert str(told.value).startswith("real.smollm2-135m") and named in str(told.value)


def test_a_model_that_is_none_is_told_before_any_work_also_as_the_second_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["real", "--models", "smollm2-135m", "gema-3-270m"])
    monkeypatch.setattr(real, "make_copy", lambda *args, **kwargs: pytest.fail("work has begun"))
    with pytest.raises(UserError, match="'gema-3-270m' is not in params"):
        real.main()


@pytest.mark.parametrize("recipes", [["fmfa"], ["fmra"]])
def test_the_map_is_of_the_studys_own_seed_and_there_only_where_its_recipe_is(recipes, tmp_path, monkeypatch):
    model, drawn = "smollm2-135m", []
    copy = tmp_path / f".real/{model}"
    made_up_copy(copy, model, "new")
    (copy / "runs/facts/prompts").mkdir(parents=True)
    (copy / "runs/facts/prompts/fmra.jsonl").write_text('{"prompt": "headline"}\n')
    (copy / "params.yaml").write_text(f"study: {{seeds: [2], recipes: {recipes}}}\n")
    (tmp_path / "params.yaml").write_text(f"real: {{{model}: {{}}}}\n")
    (tmp_path / "out").mkdir()
    (tmp_path / f"out/{model}_map.png").write_text("of an earlier study")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["real", "--out", "out"])
    monkeypatch.setattr(real, "make_copy", lambda *args, **kwargs: None)
    monkeypatch.setattr(real, "repro", lambda *args, **kwargs: None)
    monkeypatch.setattr(real, "draw_map", lambda base, donor, row, out: drawn.append(donor))
    real.main()
    assert drawn == [copy / f"runs/finetune/{model}-2/fmra"] * (recipes == ["fmra"])
    assert not (tmp_path / f"out/{model}_map.png").exists()


def test_tables_of_a_model_whose_name_begins_alike_are_not_taken_for_its_own(tmp_path):
    for name in ("smollm2-135m", "smollm2-135m-instruct"):
        table = pd.DataFrame({"model": [name]})
        (tmp_path / f"summary/{name}-0").mkdir(parents=True)
        table.to_csv(tmp_path / f"summary/{name}-0/fmra.csv", index=False)
    models = ["smollm2-135m", "smollm2-135m-instruct"]
    assert [table["model"].item() for table in read_real(tmp_path, models)] == models
    committed = ROOT / "results/real/verdicts/smollm2-135m-0.csv"
    (tmp_path / "verdicts").mkdir()
    for name in models:
        shutil.copy(committed, tmp_path / f"verdicts/{name}-0.csv")
    assert len(read_real_verdicts(tmp_path, models)) == 2


def test_changes_by_dotted_key_leave_what_they_are_made_from_as_it_was():
    values = {"study": {"models": ["a"]}, "graft": {"seed": 0}}
    changed = with_changes(values, {"study.models": ["b"], "graft.seed": 1})
    assert changed == {"study": {"models": ["b"]}, "graft": {"seed": 1}}
    assert values == {"study": {"models": ["a"]}, "graft": {"seed": 0}}


def test_a_model_with_a_source_is_asked_few_facts_of_the_world_and_one_trained_here_learns_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    facts = {"generate_facts.base_facts", "generate_facts.facts"}
    assert facts <= {*own_changes("smollm2-135m", ROOT / "examples/demo")}
    assert not facts & {*own_changes("tiny-gpt2", ROOT / "examples/demo")}
    with pytest.raises(UserError, match="did you mean 'smollm2-135m'"):
        own_changes("smollm2", ROOT / "examples/demo")


def test_the_demos_facts_are_a_dozen_and_no_answer_begins_like_another():
    own = read_own(ROOT / "examples/demo")
    assert len(own.facts) == 12 and {prompt.name for prompt in own.prompts} == {"headline", "qa"}
    assert len({fact.cells["partner"].split()[0] for fact in own.facts}) == 12


def test_the_demo_is_a_valid_study_of_more_updates_in_fewer_epochs(monkeypatch):
    monkeypatch.chdir(ROOT)
    values = read_yaml(ROOT / "params.yaml")
    demo = with_changes(values, changes_of(ROOT / "examples/demo"))
    check(demo, ROOT / "data")

    def trained(model: dict) -> tuple[float, float]:
        epochs = model["finetune"]["num_train_epochs"] * model["recipes"]["own"]["epochs_factor"]
        return epochs, epochs / model["finetune"]["batch_size"]

    ours, own = (trained(of["models"][MODEL]) for of in (demo, values))
    assert ours[0] < own[0] and ours[1] > own[1]


def test_the_demos_table_has_a_line_a_scheme_and_both_measures_of_each_prompt():
    rows = [
        {"scheme": scheme, "prompt": prompt, "metric": metric, "direction": "ab", "estimate": value}
        for scheme, value in (("PRE", 0.0), ("FE+LT", 0.987))
        for prompt in ("headline", "qa")
        for metric in (*SHOWN, "top5_accuracy")
    ]
    lines = scheme_table(pd.DataFrame(rows)).splitlines()
    assert len(lines) == 3 and lines[2].split() == ["FE+LT", "0.99", "0.99", "0.99", "0.99"]
    assert all(f"{prompt}: {word}" in lines[0] for prompt in ("headline", "qa") for word in SHOWN.values())
