"""Starting, waiting for, killing and comparing the trainings of test_distributed.py."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from closure import ROOT
from safetensors.torch import load_file

# Sums over two halves of an update are added in another order: about 1e-7 of a gradient. AdamW divides by the gradient's size, so
# that a weight with almost no gradient may move by 1e-4 (a hundredth of the learning rate) more or less; the losses hardly see it.
LOSS = {"rel": 1e-5}
WEIGHTS = {"atol": 1e-3, "rtol": 0.0}


def launched(configuration: str, jobs: list[dict], folder: Path) -> subprocess.Popen:
    """`accelerate launch` with two processes."""
    return subprocess.Popen(
        [
            *(Path(sys.executable).with_name("accelerate"), "launch"),
            *("--config_file", ROOT / f"data/accelerate/{configuration}.yaml"),
            *("--main_process_port", "0"),  # any free one
            *(Path(__file__).with_name("training_jobs.py"), json.dumps(jobs), folder),
        ],
        cwd=folder,
        # torch leaves its launcher's logs where files are temporary.
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen) -> str:
    """What it printed, once it has ended well."""
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return printed


def wait_for(done, process) -> None:
    """Until something has happened, which it must while the process runs, within two minutes."""
    for _ in range(12000):
        if done():
            return
        assert process.poll() is None if isinstance(process, subprocess.Popen) else process.is_alive()
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def kill_after_a_checkpoint(process: subprocess.Popen, out: Path) -> None:
    """SIGKILL the launcher; its processes must end with it, or they would go on training."""
    wait_for(lambda: list(out.parent.glob(f"{out.name}.ckpt/checkpoint-*/whole")), process)
    process.kill()
    process.communicate()  # until the last of them has let go of what it printed to
    assert not out.exists()


def outcome(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def weights(path: Path) -> dict[str, torch.Tensor]:
    (file,) = path.glob("*.safetensors")
    return load_file(file)


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_close(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], **WEIGHTS)
