"""Chunks: an evaluation's work in fixed pieces, kept on disk as they are finished, and shared out over processes.

Which prompts are scored together decides on the last digits, so the cut depends on the work alone: not on the number of
processes, and not on what an earlier run finished. All processes must see one file system.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

from stages.evaluation.experiments import Patch
from stages.modeling.models import end_with_launcher, weights_digest
from weightgraft import Prompt, Scheme, engine
from weightgraft.engine.scores import Scores
from weightgraft.errors import UserError
from weightgraft.progress import bar

# Multiplications of a chunk at most, a model's parameters times the tokens: what a kill may cost, and the grain in which work is
# shared out. 25,000 tokens of 2.8 billion parameters; of a tiny model more than any experiment has, so that nothing there is
# batched otherwise than without chunks.
WORK_A_CHUNK = 2**46
PATIENCE = timedelta(days=7)  # a process that is done waits for the others as long as they work
Progress = Callable[[int, int], None]  # (prompts done, prompts in all), as the engine reports


@dataclass(frozen=True)
class Chunk:
    """Some prompts of an experiment under some of its schemes, or some of its patches."""

    experiment: str
    prompts: tuple[Prompt, ...]
    columns: tuple[Scheme, ...] | tuple[Patch, ...]

    @property
    def n_scores(self) -> int:
        return len(self.prompts) * len(self.columns)


def cut(
    experiment: str,
    prompts: Sequence[Prompt],
    columns: tuple[Scheme, ...] | tuple[Patch, ...],
    work: int,
) -> list[Chunk]:
    """Prompts in their order, as many at once as make WORK_A_CHUNK, at least one. work: that of the longest under these columns."""
    size = max(1, WORK_A_CHUNK // work)
    return [
        Chunk(experiment, tuple(prompts[start : start + size]), columns)
        for start in range(0, len(prompts), size)
    ]


def processes(device: str) -> PartialState:
    """The processes that `accelerate launch` started, or this one alone, each with its device.

    device: cpu, cuda, or auto. Call it before threads are set: accelerate sets them too.

    Raises:
        UserError: a GPU is wanted and there is none.
    """
    end_with_launcher()
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UserError("models.*.device is 'cuda', but torch sees no GPU here; valid: cpu, cuda, auto")
    return PartialState(cpu=device == "cpu" or not there, timeout=PATIENCE)


def model_digest(folder: Path) -> str:
    """A hash of a model or adapter: its weights and its configuration."""
    configs = [path.read_text() for path in sorted(folder.glob("*config.json"))]
    return _hash(weights_digest(folder), configs)


def code_digest() -> str:
    """A hash of the code that makes scores: after a change of it, what an earlier run finished is stale."""
    assert engine.__file__ is not None
    folders = (Path(__file__).parent, Path(engine.__file__).parent)
    files = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return _hash([path.read_text(encoding="utf-8") for path in files])


def run_fingerprint(settings: Any, models: dict[str, Path], device: torch.device) -> str:
    """A hash of what shapes the scores of all chunks alike: settings (dtype and pinned libraries are among them), models, code,
    and the machine as far as it counts."""
    versions = [torch.__version__, transformers.__version__, peft.__version__]
    digests = {name: model_digest(folder) for name, folder in models.items()}
    threads = torch.get_num_threads() if device.type == "cpu" else None  # a launcher may set another number
    return _hash(settings, digests, code_digest(), versions, device.type, threads)


def _hash(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def folder_of(out: Path) -> Path:
    """Where the finished chunks of a table lie until it is written."""
    return Path(".ckpt") / out.relative_to(out.anchor)


def file_of(folder: Path, run: str, chunk: Chunk) -> Path:
    """The file of a chunk's scores; its name is a hash of all that shapes them, so a stale file is never found."""
    return folder / f"{_hash(run, chunk)}.safetensors"


def write_scores(path: Path, scores: Scores) -> None:
    """Write a chunk's scores, whole or not at all."""
    tensors = {field.name: getattr(scores, field.name).contiguous() for field in fields(Scores)}
    part = path.with_suffix(f".{os.getpid()}.part")
    save_file(tensors, part, metadata={"sha256": hashlib.sha256(save(tensors)).hexdigest()})
    os.replace(part, path)


def read_scores(path: Path) -> Scores | None:
    """A chunk's scores, or None if they are not there, or not as they were written."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
            written = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return Scores(**tensors) if hashlib.sha256(save(tensors)).hexdigest() == written else None


def finish(
    chunks: Sequence[Chunk],
    folder: Path,
    run: str,
    score: Callable[[Chunk, Progress], Scores],
    label: str,
) -> list[Scores] | None:
    """The scores of all chunks, in their order, on the main process; None on the others.

    What an earlier run finished is read. Of the rest every process scores its share, writes each chunk as it is done, and
    waits for the others.

    Raises:
        UserError: a finished chunk is no longer there in the end.
    """
    state = PartialState()
    files = [file_of(folder, run, chunk) for chunk in chunks]
    folder.mkdir(parents=True, exist_ok=True)
    missing = [place for place, file in enumerate(files) if read_scores(file) is None]
    if state.is_main_process:
        for stale in set(folder.iterdir()) - set(files):
            stale.unlink()
    state.wait_for_everyone()  # all have counted before one of them writes
    mine = missing[state.process_index :: state.num_processes]
    total = sum(chunks[place].n_scores for place in mine)
    with bar(label, total, "scores", shown=state.is_main_process) as shown:
        for place in mine:
            with counted(shown, chunks[place], label) as progress:
                write_scores(files[place], score(chunks[place], progress))
    state.wait_for_everyone()
    if not state.is_main_process:
        return None
    found = [read_scores(file) for file in files]
    for scores, file in zip(found, files, strict=True):
        if scores is None:
            raise UserError(f"{file}: finished, and now gone or damaged; run again, one run at a time")
    return [scores for scores in found if scores is not None]


@contextmanager
def counted(shown: Any, chunk: Chunk, label: str) -> Iterator[Progress]:
    """What brings a bar forward by one chunk, and back where the chunk is begun anew."""
    start = shown.n
    shown.set_description(f"{label}: {chunk.experiment}", refresh=False)

    def progress(done: int, _: int) -> None:
        shown.update(start + done * len(chunk.columns) - shown.n)

    yield progress


def discard(folder: Path) -> None:
    """Remove what was finished: its table is written."""
    shutil.rmtree(folder, ignore_errors=True)
