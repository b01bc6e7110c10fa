"""Starts of Python that cost little: one process imports the libraries, and `python -m stages...` and `dvc` are forked from it.

Most of the time of a stage at smoke size goes into torch, transformers and DVC. What is forked is a process of its own, with the
directory, environment and output of whoever started it; it imports the study's code itself, from there. Only the libraries are
there already, and all forked processes have one seed of hashes: a test of equal bytes has one of its runs started from scratch.
"""

import atexit
import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

CLIENT = Path(__file__).with_name("warm_client.py")
# What the stages import; a name that is missing here costs time and nothing else.
LIBRARIES = (
    "accelerate", "dvc.cli", "dvc.commands.repro", "dvc.repo.reproduce", "dvc.repo.status", "faker", "jinja2", "matplotlib.pyplot",
    "pandas", "peft", "pyarrow.parquet", "pydantic", "ruamel.yaml", "safetensors.torch", "scipy.stats", "torch",
    "transformers.trainer", "transformers.models.gpt2.modeling_gpt2", "transformers.models.llama.modeling_llama",
)  # fmt: skip
COMMANDS = {
    "python": """#!/bin/sh
case "$1 $2" in "-m stages."*) exec {python} -ISE {client} {socket} "$@";; *) exec {python} "$@";; esac
""",
    "dvc": """#!/bin/sh
exec {python} -ISE {client} {socket} -m dvc "$@"
""",
}


@contextlib.contextmanager
def warm_commands(folder: Path) -> Iterator[Path]:
    """A folder with a `python` and a `dvc` for the path. The process that they fork from starts at their first start."""
    address = folder / "socket"
    for name, text in COMMANDS.items():
        path = folder / name
        path.write_text(text.format(python=sys.executable, client=CLIENT, socket=address))
        path.chmod(0o755)
    life, end = os.pipe()  # at whose end the server ends, also where the tests were killed
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        command = [sys.executable, __file__, str(listener.fileno()), str(life), str(folder / "python")]

        def serve_when_asked() -> None:
            with selectors.DefaultSelector() as asked:
                asked.register(listener, selectors.EVENT_READ)
                asked.register(life, selectors.EVENT_READ)
                wanted = any(key.fileobj is listener for key, _ in asked.select())
            if wanted:
                subprocess.run(command, pass_fds=(listener.fileno(), life))
                listener.close()  # whoever waits for one that has failed is told

        serving = threading.Thread(target=serve_when_asked)
        serving.start()
        try:
            yield folder
        finally:
            os.close(end)
            serving.join()
            os.close(life)


def fork_what_is_asked(listener: socket.socket, life: int, python: str) -> None:
    """Import the libraries, then run what is asked, each in a process of its own, until `life` ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: they tell how they ended
    with selectors.DefaultSelector() as asked:
        asked.register(listener, selectors.EVENT_READ)
        asked.register(life, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in asked.select()):
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                run(client, python)
            client.close()


def run(client: socket.socket, python: str) -> NoReturn:
    """Run what the client asks for, as `python -m MODULE ARGUMENTS` would, tell it the exit status, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, _, _ = socket.recv_fds(client, 1, 3)
    with client.makefile("r", encoding="utf-8") as lines:
        told = json.loads(lines.readline())
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [told["folder"], *paths, *(path for path in sys.path[1:] if path not in paths)]
    sys.executable, (module, *sys.argv[1:]) = python, told["arguments"]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    client.sendall(bytes([status & 255]))
    os._exit(status)


if __name__ == "__main__":
    number, life, python = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    fork_what_is_asked(socket.socket(fileno=number), life, python)
