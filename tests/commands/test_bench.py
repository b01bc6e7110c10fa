"""The command: what it measures in turn, what it writes, and how it ends on bad input."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_models import tiny_lora, tiny_model

from stages.commands import bench
from stages.commands.benchmarks import experiments
from stages.commands.benchmarks.measure import in_turn, ratios, spread
from stages.commands.benchmarks.memory import held_beyond, lora_bytes
from stages.commands.benchmarks.models import SIZES, Size, quick
from stages.commands.benchmarks.table import Row, readable
from weightgraft.errors import UserError

SMOKE = Size(
    architecture={"n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 61},
    prompts=3,
    pairs=2,
    rounds=1,
    copies=2,
    lengths=(8, 15),
    position_schemes=(2, 8),
    last_token_schemes=(1, 100),
    layers=(1, 2),
    split_prompts=2,
    split_rounds=2,
)


@pytest.fixture
def run(monkeypatch):
    """The command with its arguments, at a size for smoke."""
    threads = torch.get_num_threads()
    monkeypatch.setitem(bench.SIZES, "tiny", SMOKE)
    # The process of its own knows the real sizes only, and takes seconds to begin.
    measured = {"weights": 10**9, "held": 0, "peak": 3 * 10**9}
    monkeypatch.setattr(experiments, "in_a_process", lambda *_: measured)

    def main(*arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["bench", *map(str, arguments)])
        bench.main()

    yield main
    torch.set_num_threads(threads)


def test_the_command_writes_tables_and_a_figure(run, tmp_path, capsys):
    run("--out", tmp_path, "--size", "tiny", "--device", "cpu", "--threads", 1)
    names = ["bench.png", "bench.svg", "tiny-bfloat16-cpu.csv", "tiny-float32-cpu.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    tables = {dtype: pd.read_csv(tmp_path / f"tiny-{dtype}-cpu.csv") for dtype in ("float32", "bfloat16")}
    for dtype, table in tables.items():
        assert list(table.columns) == list(Row.__annotations__)
        assert not table.isna().any(axis=None)
        assert set(table["dtype"]) == {dtype} and set(table["threads"]) == {1}
        assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
        assert set(table["unit"]) <= {
            "ms per prompt and scheme", "times", "tokens per prompt", "GB", "% of the recipient", "of 1",
        }  # fmt: skip
    headline = tables["float32"].query("experiment == 'eight position schemes'")
    assert set(headline["quantity"]) == {
        "token_by_token", "masked", "unpacked", "packed", "plain", "packed / plain",
        "token_by_token / packed", "masked / packed", "unpacked / packed",
    }  # fmt: skip
    assert headline.set_index("quantity").loc["packed / plain", "n"] == SMOKE.pairs
    assert not headline.duplicated(["quantity", "unit"]).any()
    tokens = tables["float32"].query("unit == 'tokens per prompt' and quantity == 'packed'")
    by_point = tokens.set_index(["experiment", "schemes", "prompt_tokens", "layers"])["value"]
    assert by_point["schemes at LT", 100, 15, 2] == 114 and by_point["prompt length", 8, 8, 2] == 28
    assert by_point["layers", 8, 15, 1] == 56
    for experiment in ("single cells", "grid of E3", "heads"):
        rows = tables["float32"].query(f"experiment == '{experiment}'")
        rows = rows.set_index(["quantity", "unit"])["value"]
        computed = rows["packed", "tokens per prompt"], rows["whole_rows", "tokens per prompt"]
        assert computed[0] < computed[1] < rows["masked", "tokens per prompt"]
        assert rows["packed / whole_rows", "times"] > 0
    agreement = tables["bfloat16"].query("experiment == 'agreement with float32'")
    assert len(agreement) == 3 and (agreement["n"] == 8 * SMOKE.prompts).all()
    printed = capsys.readouterr().out
    assert "packed / plain" in printed and "times as fast as token by token" in printed.splitlines()[-1]
    text = readable(tables["float32"])
    assert all(experiment in text for experiment in tables["float32"]["experiment"])
    assert max(map(len, text.splitlines())) < 160


def test_a_quick_run_measures_the_same_shapes_less_often():
    for size in SIZES.values():
        less = quick(size)
        assert less.architecture == size.architecture
        assert less.prompts <= size.prompts and less.pairs <= size.pairs and less.copies <= size.copies
        assert len(less.lengths) <= 2 and {*less.lengths} <= {*size.lengths}
    assert quick(SIZES["gpt2"]).pairs < SIZES["gpt2"].pairs


def test_every_column_is_documented():
    documented = set(re.findall(r"\w+", Row.__doc__ or ""))
    assert set(Row.__annotations__) <= documented


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--size", "gpt3"], ("--size", "gpt3", "tiny", "gpt2-xl")),
        (["--dtype", "float16"], ("--dtype", "float16", "bfloat16")),
        (["--device", "tpu"], ("--device", "tpu", "cuda")),
        (["--threads", "0"], ("--threads", "0", "1, 2")),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(run, tmp_path, capsys, arguments, names):
    with pytest.raises(SystemExit):
        run("--out", tmp_path / "new", *arguments)
    line = capsys.readouterr().err.splitlines()[-1]
    assert all(name in line for name in names)
    assert not (tmp_path / "new").exists()


def test_a_gpu_that_is_not_there_is_an_error_of_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"--device 'cuda': .*choose from auto, cpu"):
        run("--out", tmp_path / "new", "--device", "cuda")
    assert not (tmp_path / "new").exists()


def test_a_file_cannot_be_the_folder_of_the_results(run, tmp_path):
    file = Path(tmp_path / "file")
    file.write_text("mine")
    with pytest.raises(UserError, match="--out"):
        run("--out", file)
    assert file.read_text() == "mine"


def test_procedures_take_turns_and_the_first_round_is_not_counted():
    calls: list[str] = []
    procedures = {name: lambda name=name: calls.append(name) for name in "AB"}
    seconds = in_turn(procedures, 3, torch.device("cpu"), "turns")
    assert calls == ["A", "B"] * 4
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_ratios_are_taken_within_pairs():
    values = spread(ratios([2.0, 6.0, 40.0], [1.0, 2.0, 10.0]))
    assert (values.median, values.low, values.high, values.n) == (3.0, 2.5, 3.5, 3)


def test_dense_donors_cost_nothing_beyond_their_weights():
    pre, sft, third = (tiny_model("gpt2", seed) for seed in range(3))
    assert held_beyond(pre, {"sft": sft, "third": third}) == 0
    assert held_beyond(pre, {"lora": tiny_lora(pre, 0)}) > 0


def test_a_lora_donor_costs_under_two_percent_at_the_shape_of_gpt2_xl():
    held, recipient = lora_bytes(SIZES["gpt2-xl"].architecture)
    width, layers = 1600, 48
    ins_and_outs = (width + 3 * width) + (width + width) + (width + 4 * width) + (4 * width + width)
    assert held == 4 * 16 * ins_and_outs * layers
    assert recipient > 6e9 and held < 0.02 * recipient
