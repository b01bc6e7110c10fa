"""Claims about `make rehearsal`, at a width that costs nothing: the pipeline takes its checkpoints for the hub's models."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch
from made_up_checkpoints import architectures, write_neighbour
from rehearsal import (
    MODELS,
    arguments,
    disk_needed,
    missing,
    rehearsed,
    write_checkpoints,
)
from ruamel.yaml import YAML
from watching import COLUMNS, GB, OverMemory, Watched, on_disk, table_of, watch

from stages.check_params import check
from stages.commands.quick import change_params
from stages.evaluation.prompts import encode_rows
from stages.facts.real import make_world
from stages.facts.templates import read_prompt_templates
from stages.generate_facts import prompt_rows
from stages.modeling.sources import obtain
from stages.study.params import read_yaml
from weightgraft.errors import UserError

PARAMS = read_yaml(Path("params.yaml"))
SHAPES = architectures(PARAMS, MODELS, layers=2, small=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """The four checkpoints."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(PARAMS, SHAPES, folder)
    return folder


@pytest.fixture(scope="module")
def changed(folders, tmp_path_factory) -> dict:
    """params.yaml as the rehearsal has it."""
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(Path("params.yaml").read_text())
    change_params(path, rehearsed(PARAMS, SHAPES, folders, facts=6, epochs=0.5))
    return read_yaml(path)


def test_check_params_accepts_the_rehearsal_which_asks_all_that_the_paper_run_asks(changed):
    valid = check(changed, Path("data"))
    assert valid.study.models == list(MODELS)
    kept = ("recipes", "setups", "experiments", "graft", "render_figures", "launch")
    assert all(changed[section] == PARAMS[section] for section in kept)
    assert all(
        changed["study"][key] == PARAMS["study"][key] for key in ("recipes", "parts", "setups", "seeds")
    )
    finetune = PARAMS["models"]["gpt2-xl"]["finetune"] | {"num_train_epochs": 0.5}
    assert all(changed["models"][name]["finetune"] == finetune for name in MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_in_the_hubs_names_is_obtained_and_its_tokenizer_finds_every_span(
    changed, folders, name
):
    entry = changed["models"][name]
    source = {"revision": None, **entry["source"]}
    model, tokenizer = obtain(source, entry["family"], entry["architecture"], entry["dtype"])
    assert model.dtype == torch.bfloat16 and model.config.model_type == entry["family"]
    assert len(tokenizer) <= model.config.vocab_size and tokenizer.pad_token is not None
    world = make_world(changed["generate_facts"], read_yaml(Path("data/words.yaml")), Path())
    for facts in (world.base, *world.datasets.values()):
        rows = prompt_rows(facts, read_prompt_templates(Path("data/templates")))
        for row, prompt in zip(rows, encode_rows(tokenizer, rows), strict=True):
            assert {*row["spans"]} == {*prompt.positions} - {"LT"}
            bos = prompt.tokens[0] == tokenizer.bos_token_id
            assert bos == (entry["family"] in ("llama", "gemma"))
            for span, pairs in row["spans"].items():
                spelt = tokenizer.decode([prompt.tokens[i] for i in prompt.positions[span]])
                asked = " ".join(row["text"][start:end] for start, end in pairs)
                assert "".join(asked.split()) == "".join(spelt.split()).strip(".?:,"), (span, asked, spelt)


def test_the_second_model_of_full_depth_differs_a_little_everywhere(folders, tmp_path):
    write_neighbour(folders / "gpt2-xl", tmp_path / "other", noise=0.02, dtype="bfloat16")
    source = {"revision": None, "early": "untrained"}
    one, other = (
        obtain(source | {"model": str(folder)}, "gpt2", SHAPES["gpt2-xl"], "float32")[0].state_dict()
        for folder in (folders / "gpt2-xl", tmp_path / "other")
    )
    for name, tensor in one.items():
        if tensor.std() > 0:  # biases and norms begin as constants
            apart = (other[name] - tensor).std() / tensor.std()
            assert 0.01 < apart < 0.03, name  # bfloat16 keeps 8 bits: a step is up to .8 % of a weight


def test_full_depth_has_params_own_shape_and_the_width_counts_for_the_disk():
    whole = architectures(PARAMS, ["gpt2-xl"], layers=None, small=False)
    assert whole == {"gpt2-xl": PARAMS["models"]["gpt2-xl"]["architecture"]}
    cut = architectures(PARAMS, MODELS, layers=2, small=False)
    assert cut["gpt2-xl"] == whole["gpt2-xl"] | {"n_layer": 2}
    # 12 recipes, parts and others: 10 whole models of two bytes a parameter at least; Gemma's embedding alone has 524 M.
    assert disk_needed(PARAMS, {"gemma-1_1-2b-it": cut["gemma-1_1-2b-it"]}) > 10 * 2 * 524e6
    assert disk_needed(PARAMS, SHAPES) < 0.1 * GB


def test_what_a_run_takes_is_seen_stage_by_stage_and_too_much_ends_it(tmp_path):
    log = tmp_path / "log"
    grow = "import time; held = bytearray({size}); time.sleep(1.2)"

    def work() -> int:
        with log.open("ab") as out:
            for stage, size in (("small", 1), ("large@a", 300_000_000)):
                out.write(f"Running stage '{stage}':\n".encode())
                out.flush()
                subprocess.run([sys.executable, "-c", grow.format(size=size)])
        return 0

    log.touch()
    code, stages, disk = watch(work, log, tmp_path, limit=10 * GB)
    assert code == 0 and disk >= on_disk(log.parent) > 0
    assert [watched.stage for watched in stages] == ["start", "small", "large@a"]
    assert all(
        0.5 < watched.seconds < 60 for watched in stages[1:]
    )  # a process sleeps 1.2 s; others use the machine
    assert (
        0.3 * GB < stages[2].peak < 0.5 * GB and stages[1].peak < 0.1 * GB
    )  # an interpreter takes some 10 MB
    log.write_bytes(b"")
    # Seen as soon as it is above .2 GB: the process may not have filled all of its .3 GB by then.
    with pytest.raises(OverMemory, match=r"large@a: 0\.[23] GB, more than 0\.2"):
        watch(work, log, tmp_path, limit=GB // 5)


def test_the_table_adds_up_the_items_of_a_kind_and_keeps_the_highest_peak():
    stages = [
        *(Watched("start", 1.0, 0), Watched("pretrain@gpt2-xl", 3.0, GB)),
        *(Watched("graft@gpt2-xl-0-fmra", 4.0, 2 * GB), Watched("graft_setups@gpt2-xl-0-maps", 6.0, 3 * GB)),
        Watched("write_report", 2.0, GB // 2),
    ]
    table = table_of(stages, MODELS)
    assert list(table.columns) == COLUMNS
    assert table.to_dict("split")["data"] == [
        ["gpt2-xl", "pretrain", 1, 3.0, 3.0, 1.0],
        ["gpt2-xl", "graft", 2, 10.0, 6.0, 3.0],
        ["all", "start", 1, 1.0, 1.0, 0.0],
        ["all", "write_report", 1, 2.0, 2.0, 0.5],
    ]


def test_what_is_missing_or_empty_is_named(changed, tmp_path):
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(changed, file)
    setups = [*PARAMS["study"]["recipes"], *PARAMS["study"]["setups"]]
    faults = Counter(fault.split("/")[0] for fault in missing(tmp_path))
    assert faults["results"] == len(MODELS) * (len(setups) + 3) + 2 and faults["figures"] > 10
    summary = tmp_path / "results/summary/gpt2-xl-0/rmra_shuffled.csv"
    summary.parent.mkdir(parents=True)
    rows = pd.DataFrame({"experiment": ["positions"], "metric": ["mean_logprob"], "estimate": [float("nan")]})
    rows.to_csv(summary, index=False)
    assert any("rmra_shuffled.csv: mean_logprob is not finite" in fault for fault in missing(tmp_path))
    rows.assign(estimate=-3.0).to_csv(summary, index=False)
    assert not any("gpt2-xl-0/rmra_shuffled" in fault for fault in missing(tmp_path))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--models", "gpt2"], "--models: 'gpt2': did you mean 'gpt2-xl'?"),
        (["--layers", "1"], "--layers is 1; at least 2"),
        (["--facts", "3"], "--facts is 3; at least 6"),
    ],
)
def test_a_wrong_option_is_named_before_any_work(words, named):
    with pytest.raises(UserError) as raised:
        arguments(words)
    assert named in str(raised.value)
