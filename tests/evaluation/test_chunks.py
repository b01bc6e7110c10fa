"""Claims about chunks: one table whatever the processes, a killed run is continued, and no damaged score is trusted."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import PartialState
from made_up_setups import graft_arguments

from stages import graft
from stages.evaluation import chunks, setups
from stages.evaluation.chunks import Chunk, file_of, folder_of, read_scores, run_fingerprint, write_scores
from weightgraft import Prompt, parse_scheme
from weightgraft.engine.scores import Scores

SETUP = "patching"  # schemes and patches
SMALL = 2**21  # multiplications: cuts the six facts' prompts as they would be cut for a big model
KEYS = ["experiment", "template", "fact_id", "scheme", "draw"]
fork = multiprocessing.get_context("fork")  # the launcher's processes without its imports


@pytest.fixture(autouse=True)
def many_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "WORK_A_CHUNK", SMALL)


@pytest.fixture
def log(monkeypatch, tmp_path) -> Callable[[], list[str]]:
    """The chunks that were scored, in all processes, by what they are."""
    path, score_chunk = tmp_path / "log", setups.score_chunk

    def logged(chunk, *rest):
        with path.open("a") as file:
            file.write(f"{chunk.experiment} {[p.tokens for p in chunk.prompts]} {chunk.columns[0].name}\n")
        return score_chunk(chunk, *rest)

    monkeypatch.setattr(setups, "score_chunk", logged)
    return lambda: path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="session")
def whole(evaluate) -> bytes:
    """The table of one plain, undisturbed process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chunks, "WORK_A_CHUNK", SMALL)
        return evaluate(SETUP, "whole").read_bytes()


def left(out: Path) -> list[Path]:
    """The chunks that lie ready for a table."""
    return sorted(folder_of(out).rglob("*.safetensors"))


def in_processes(number: int, target: Callable[[], object]) -> list[int]:
    """Exit codes of some processes that are started as torch's launcher starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> None:
        places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        os.environ |= {name: str(value) for name, value in (places | where).items()}
        PartialState._reset_state()
        target()

    started = [fork.Process(target=run, args=(rank,)) for rank in range(number)]
    for process in started:
        process.start()
    for process in reversed(started):  # the first is the last to end
        process.join(timeout=600)
        if process.exitcode != 0:  # as the launcher does: one is lost, all are stopped
            for other in started:
                other.kill()
    for process in started:
        process.join()
    return [process.exitcode for process in started]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_number_of_processes_writes_the_same_bytes(number, evaluate, whole, log, folder, capfd):
    out = f"{number} processes"
    assert in_processes(number, lambda: evaluate(SETUP, out)) == [0] * number
    assert (folder / out / f"{SETUP}.parquet").read_bytes() == whole
    assert len(log()) == len(set(log())) > 3  # every chunk once, by whichever process
    assert not folder_of(folder / out).exists()
    assert capfd.readouterr().out.count("graft: ") == 1


def test_the_launcher_of_accelerate_gives_the_same_bytes_as_python(folder, tmp_path, evaluate, monkeypatch):
    monkeypatch.undo()
    expected = evaluate("maps", "maps").read_bytes()  # many schemes: several chunks, also of tiny models
    given = ["-m", "stages.graft", *graft_arguments(folder, "maps", tmp_path / "maps")]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command = [*launcher, "--main_process_port", "0", *given]
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # torch leaves its launcher's logs there
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("graft: ") == 1
    assert (tmp_path / "maps/maps.parquet").read_bytes() == expected


def test_scores_are_the_same_however_the_prompts_are_cut(evaluate, whole, folder, monkeypatch):
    monkeypatch.setattr(chunks, "WORK_A_CHUNK", 2**46)
    one = pd.read_parquet(evaluate(SETUP, "uncut"))
    (folder / "cut.parquet").write_bytes(whole)
    cut = pd.read_parquet(folder / "cut.parquet")
    assert (one[KEYS] == cut[KEYS]).all(axis=None) and one["target_logprob"].nunique() > 100
    for column in ("target_logprob", "target_logit", "foil_logit"):
        assert np.allclose(one[column], cut[column], atol=1e-5)  # other batches round differently: float32
    assert (one["target_rank"] == cut["target_rank"]).all()


def killed(monkeypatch, moment: str, after: int, evaluate, out: str) -> list[int]:
    """Run a setup in a process that is killed at a moment of the chunk that follows `after` others."""
    write, replace, count = chunks.write_scores, os.replace, iter(range(1000))

    def die(path: Path, scores: Scores) -> None:
        last = next(count) == after
        if last and moment == "before it is written":
            os.kill(os.getpid(), signal.SIGKILL)
        if last and moment == "while it is written":
            os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write(path, scores)
        if last and moment == "when it is written":
            os.kill(os.getpid(), signal.SIGKILL)

    def start() -> None:
        chunks.write_scores = die
        evaluate(SETUP, out)

    try:
        return in_processes(1, start)
    finally:
        assert os.replace is replace and chunks.write_scores is write  # all that was in the other process


@pytest.mark.parametrize(
    ("moment", "after", "kept"),
    [
        ("before it is written", 0, 0),
        ("while it is written", 2, 2),
        ("when it is written", 2, 3),
    ],
)
def test_a_killed_run_is_continued_and_computes_nothing_twice(
    moment, after, kept, monkeypatch, evaluate, whole, log, folder
):
    out = f"killed {after} {kept}"
    assert killed(monkeypatch, moment, after, evaluate, out) == [-signal.SIGKILL]
    assert not (folder / out / f"{SETUP}.parquet").exists() and len(left(folder / out)) == kept
    before = log()
    assert len(before) == after + 1
    assert evaluate(SETUP, out).read_bytes() == whole
    again = log()[len(before) :]
    assert not set(again) & set(before[:kept]) and set(again) | set(before[:kept]) == set(log())
    assert not folder_of(folder / out).exists()


def test_what_two_processes_finished_is_continued_by_one(monkeypatch, evaluate, whole, log, folder):
    write = chunks.write_scores

    def one_dies(path: Path, scores: Scores) -> None:
        write(path, scores)
        if PartialState().process_index == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def start() -> None:
        chunks.write_scores = one_dies
        evaluate(SETUP, "of two")

    assert -signal.SIGKILL in in_processes(2, start)
    finished, before = left(folder / "of two"), log()
    written = {file.name: file.stat().st_mtime_ns for file in finished}
    assert finished and not (folder / "of two" / f"{SETUP}.parquet").exists()
    kept = {}
    monkeypatch.setattr(
        chunks,
        "discard",
        lambda path: kept.update(
            {file.name: file.stat().st_mtime_ns for file in path.rglob("*.safetensors")}
        ),
    )
    monkeypatch.setattr(graft, "discard", chunks.discard)
    assert evaluate(SETUP, "of two").read_bytes() == whole
    assert written.items() <= kept.items()  # not written anew
    assert len(log()) - len(before) == len(kept) - len(finished)


@pytest.mark.parametrize("damage", ["truncated", "empty", "a bit turned", "another's", "no file"])
def test_a_damaged_chunk_is_scored_again_and_not_trusted(damage, monkeypatch, evaluate, whole, log, folder):
    out = f"damaged {damage}"
    killed(monkeypatch, "when it is written", 3, evaluate, out)
    first, *others = left(folder / out)
    content = first.read_bytes()
    if damage == "no file":
        first.unlink()
    elif damage == "another's":
        first.rename(first.with_name("0" * 64 + ".safetensors"))  # as of settings that were changed since
    else:
        turned = content[:-1] + bytes([content[-1] ^ 1])  # in the last tensor: its format stays valid
        first.write_bytes({"truncated": content[:-9], "empty": b"", "a bit turned": turned}[damage])
        assert read_scores(first) is None
    before = log()
    assert evaluate(SETUP, out).read_bytes() == whole
    again = log()[len(before) :]
    assert len(again) == len(set(log())) - len(others) and len(set(again) & set(before)) == 1


def test_scores_are_read_as_they_were_written(tmp_path):
    shape = (3, 2)
    scores = Scores(
        **{name: torch.randint(99, shape) for name in ("target_rank", "top1_token")},
        **{name: torch.randn(shape) for name in ("target_logprob", "target_logit", "joint_logprob")},
        foil_logit=torch.full(shape, torch.nan),
        watched_mass=torch.full(shape, torch.nan),
        exact_match=torch.rand(shape) > 0.5,
    )
    write_scores(tmp_path / "scores.safetensors", scores)
    read = read_scores(tmp_path / "scores.safetensors")
    assert read is not None and [file.name for file in tmp_path.iterdir()] == ["scores.safetensors"]
    for field in fields(Scores):
        assert np.array_equal(getattr(read, field.name), getattr(scores, field.name), equal_nan=True)


def test_a_chunks_file_depends_on_all_that_shapes_its_scores(folder, monkeypatch, tmp_path):
    cpu = torch.device("cpu")
    item = {"model": {"dtype": "float32"}, "graft": {"token_budget": 4096}}
    models = {"recipient": folder / "base", "sft": folder / "sft0"}
    run = run_fingerprint(item, models, cpu)
    assert run == run_fingerprint(item, models, cpu)
    others = [
        run_fingerprint(item | {"model": {"dtype": "bfloat16"}}, models, cpu),
        run_fingerprint(item, models | {"sft": folder / "sft1"}, cpu),
        run_fingerprint(item, models | {"sft": folder / "lora"}, cpu),
        run_fingerprint(item, {"sft": folder / "base", "recipient": folder / "sft0"}, cpu),
        run_fingerprint(item, models, torch.device("cuda")),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(torch, "__version__", "2.0")
        others.append(run_fingerprint(item, models, cpu))
    with monkeypatch.context() as patched:
        patched.setattr(torch, "get_num_threads", lambda: 7)
        others.append(run_fingerprint(item, models, cpu))
    with monkeypatch.context() as patched:
        patched.setattr(chunks, "code_digest", lambda: "other code")
        others.append(run_fingerprint(item, models, cpu))
    prompt = Prompt(tokens=(1, 2, 3), positions={"FE": (0,)}, target=(4,), foil=5)
    schemes = tuple(parse_scheme(text, donor="sft") for text in ("PRE", "FE"))
    chunk = Chunk("positions", (prompt,), schemes)
    parted = [
        Chunk("title", (prompt,), schemes),
        Chunk("positions", (prompt, prompt), schemes),
        Chunk("positions", (prompt,), schemes[:1]),
        Chunk("positions", (Prompt((1, 2, 3), {"FE": (1,)}, (4,), 5),), schemes),
        Chunk("positions", (Prompt((1, 2, 3), {"FE": (0,)}, (6,), 5),), schemes),
        Chunk("positions", (Prompt((1, 2, 3), {"FE": (0,)}, (4,), 6),), schemes),
    ]
    names = [file_of(tmp_path, run, chunk), *(file_of(tmp_path, other, chunk) for other in others)]
    names += [file_of(tmp_path, run, other) for other in parted]
    assert len(set(names)) == len(names)
