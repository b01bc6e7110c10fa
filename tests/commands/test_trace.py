"""Every number is traced to its rows, files, models and params; what does not fit together is said."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from closure import ROOT
from made_up_scores import table_of

from stages.analysis.provenance import folder_md5, read_lock, recorded
from stages.analysis.summary import summarize
from stages.commands.trace import main
from weightgraft.errors import run_main

PARAMS = """
study:
  models: [tiny-gpt2]
  seeds: [0]
  recipes: [fmra]
  setups: []
  own: []
  repeats: {models: [], seeds: [], recipes: []}
  new_form: {models: [], recipes: [], setups: []}
summarize: {resamples: 200, seed: 0, maps: {}}
render_figures:
  figures:
    figure2: {draws: positions, setup: fmra, metric: top5_accuracy}
"""
LOCK = """
schema: '2.0'
stages:
  pretrain@tiny-gpt2:
    cmd: a
    deps: [{{path: runs/settings/pretrain/tiny-gpt2.json, md5: {own}}}, {{path: stages/modeling, md5: ddd.dir}}]
    outs: [{{path: runs/pretrain/tiny-gpt2, md5: aaa.dir}}]
  finetune@tiny-gpt2-0-fmra:
    cmd: f
    deps: [{{path: runs/pretrain/tiny-gpt2, md5: {base}}}, {{path: stages/finetune.py, md5: ccc}}]
    outs: [{{path: runs/finetune/tiny-gpt2-0/fmra, md5: bbb.dir}}]
  graft@tiny-gpt2-0:
    cmd: b
    deps: [{{path: runs/finetune/tiny-gpt2-0, md5: ggg.dir}}, {{path: weightgraft/engine, md5: eee.dir}}]
    outs: [{{path: runs/graft/tiny-gpt2-0, md5: {table}}}]
  summarize@tiny-gpt2-0:
    cmd: c
    deps: [{{path: runs/graft/tiny-gpt2-0, md5: {table}}}]
    outs: [{{path: results/summary/tiny-gpt2-0, md5: {summary}}}]
  render_figures:
    cmd: d
    outs: [{{path: figures, md5: fff.dir}}]
"""
SETTINGS = Path("runs/settings/pretrain/tiny-gpt2.json")
NUMBER = [
    *("--model", "tiny-gpt2", "--setup", "fmra", "--prompt", "headline"),
    *("--scheme", "FE", "--metric", "recovered_logprob"),
]
TABLE, SUMMARY = Path("runs/graft/tiny-gpt2-0/fmra.parquet"), Path("results/summary/tiny-gpt2-0/fmra.csv")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def trace(tmp_path, monkeypatch, capsys):
    """A study of one table in an empty folder; a function that traces and gives what was printed."""
    monkeypatch.chdir(tmp_path)
    for path in (TABLE, SUMMARY, SETTINGS):
        path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    scores = table_of({"FE": rng.normal(0.5, 0.2, 20)}, prompts=("headline", "qa"))
    scores.to_parquet(TABLE)
    summarize(scores, resamples=200, seed=0).to_csv(SUMMARY, index=False, float_format="%.6g")
    Path("params.yaml").write_text(PARAMS)
    SETTINGS.write_text('{"model": {"family": "gpt2"}}')
    hashes = {"table": folder_md5(TABLE.parent), "summary": folder_md5(SUMMARY.parent), "own": md5(SETTINGS)}
    Path("dvc.lock").write_text(LOCK.format(**hashes, base="aaa.dir"))

    def run(*flags: str) -> str:
        monkeypatch.setattr(sys, "argv", ["trace", *flags])
        run_main(main)
        return capsys.readouterr().out

    return run


def test_a_number_is_traced_to_summary_facts_model_and_settings(trace):
    text = trace(*NUMBER)
    for path in (SUMMARY, TABLE):
        assert f"{path}  in {path.parent}, md5 {folder_md5(path.parent)}\n" in text
    assert "20 rows of FE on 20 facts" in text
    given, again = (
        line.split(", n =")[0].split(": ")[-1].strip() for line in text.splitlines() if "n = 20" in line
    )
    assert given == again and "the same" in text and "NOT" not in text and "BUT" not in text
    for word in (
        "runs/pretrain/tiny-gpt2  md5 aaa.dir",
        f"{SETTINGS}  md5 {md5(SETTINGS)}",
        'model = {"family": "gpt2"}',
    ):
        assert word in text
    made = [line for line in text.splitlines() if ": code " in line]
    assert [line.split(":")[0].strip() for line in made] == [
        "summarize@tiny-gpt2-0",
        "graft@tiny-gpt2-0",
        "finetune@tiny-gpt2-0-fmra",
        "pretrain@tiny-gpt2",
    ]


def test_what_was_changed_since_is_said(trace):
    SUMMARY.write_text(
        SUMMARY.read_text().replace("FE,recovered_logprob,20,0.", "FE,recovered_logprob,20,0.1")
    )
    text = trace(*NUMBER)
    assert f"in dvc.lock, BUT {folder_md5(SUMMARY.parent)} here" in text and "NOT THE SAME" in text
    Path("dvc.lock").write_text(
        Path("dvc.lock")
        .read_text()
        .replace(
            "runs/pretrain/tiny-gpt2, md5: aaa.dir}]\n  finetune",
            "runs/pretrain/tiny-gpt2, md5: eee.dir}]\n  finetune",
        )
    )
    assert "pretrain@tiny-gpt2 has since written eee.dir" in trace(*NUMBER)
    SETTINGS.write_text('{"model": {"family": "llama"}}')
    text = trace(*NUMBER)
    assert "another one is here" in text and "llama" not in text


def test_without_the_table_its_hash_is_still_told(trace):
    recorded = folder_md5(TABLE.parent)
    TABLE.unlink()
    text = trace(*NUMBER)
    assert f"md5 {recorded} (not here" in text and "recomputed" not in text


def test_a_figure_is_traced_to_its_rows(trace):
    text = trace("--figure", "figure2")
    assert f"{SUMMARY}  in {SUMMARY.parent}, md5 {folder_md5(SUMMARY.parent)}" in text and "fff.dir" in text
    assert "positions, headline: 3 rows: PRE, SFT, FE" in text and "positions, qa: 3 rows" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--figure", "figur2"], ["figur2", "did you mean 'figure2'"]),
        ([*NUMBER, "--model", "tiny-gpt3"], ["tiny-gpt3-0/fmra", "did you mean 'tiny-gpt2-0/fmra'"]),
        ([*NUMBER, "--seed", "7"], ["tiny-gpt2-7/fmra", "tiny-gpt2-0/fmra"]),
        ([*NUMBER, "--scheme", "FE+LT"], ["scheme", "'FE+LT'", "valid: PRE, SFT, FE"]),
        ([*NUMBER, "--prompt", "long"], ["prompt", "'long'", "headline, qa"]),
        ([*NUMBER, "--metric", "recovered"], ["metric", "'recovered'", "recovered_logprob"]),
        (NUMBER[:-2], ["--metric is missing"]),
    ],
)
def test_an_unknown_name_ends_in_one_line(trace, capsys, flags, words):
    with pytest.raises(SystemExit):
        trace(*flags)
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and all(word in error for word in words), error


def test_the_md5_of_a_folder_is_dvcs_own():
    """Of a folder of the committed lock, with files in folders."""
    lock = read_lock(ROOT / "dvc.lock")
    found = recorded(lock, "figures")
    assert found == ("figures", folder_md5(ROOT / "figures"))
