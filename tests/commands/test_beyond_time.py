"""Claims about the time of make beyond: it adds up, and is told of a whole run alone."""

import sys

import pandas as pd
import pytest
from closure import ROOT

from stages.commands import beyond
from stages.commands.beyond_time import run_timed, time_table

SPENDS = "import time\nwhile time.process_time() < 0.4: pass\nraise SystemExit(3)"


def test_the_seconds_of_a_process_are_its_own_and_its_childrens_and_not_those_of_waiting(tmp_path):
    code, alone = run_timed([sys.executable, "-c", SPENDS], tmp_path, {})
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPENDS!r}])"
    told, with_child = run_timed([sys.executable, "-c", parent], tmp_path, {})
    _, waits = run_timed([sys.executable, "-c", "import time; time.sleep(1.5)"], tmp_path, {})
    assert (code, told) == (3, 0)
    assert alone >= 0.4 and with_child >= 0.4 and waits < 0.4


def test_the_parts_add_up_to_the_cores():
    table = time_table({"bases": [30.0], "texts": [50.0, 10.0]}, wall=60.0, cpu=100.0, cores=2)
    told = table.set_index("part")["cpu_seconds"].to_dict()
    assert told == {"texts": 60, "bases": 30, "copies, summaries and figures": 10, "idle cores": 20}
    assert table.set_index("part").loc["texts", "starts"] == 2
    assert table["share"].sum() == pytest.approx(1, abs=0.01) and {*table["wall_seconds"]} == {60}


@pytest.mark.parametrize(
    ("options", "earlier", "told"),
    [([], False, True), ([], True, False), (["--models", "tiny-gpt2"], False, False)],
    ids=["whole", "goes on", "some models"],
)
def test_the_time_is_told_of_a_whole_run_alone(tmp_path, monkeypatch, options, earlier, told):
    def made(command, cwd, env):
        begun.append(command[command.index("--study") + 1])
        return 0, 7.0

    begun: list[str] = []
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "out").mkdir()
    if earlier:
        (tmp_path / "copies").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("make_copy", "repro", "publish", "judge", "draw"):
        monkeypatch.setattr(beyond, name, lambda *args, **kwargs: None)
    monkeypatch.setattr(beyond, "run_timed", made)
    monkeypatch.setattr(sys, "argv", ["beyond", "--copies", "copies", "--out", "out", *options])
    beyond.main()
    path = tmp_path / "out/run_time.csv"
    assert path.exists() == told
    if told:
        table = pd.read_csv(path).set_index("part")
        assert {study: table.loc[study, "cpu_seconds"] for study in {*begun}} == {
            study: 7 * begun.count(study) for study in {*begun}
        }
