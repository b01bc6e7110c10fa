"""make notebook: run examples/quickstart.ipynb from top to bottom, and keep in it what is the same in every run.

Each run starts a fresh Python in the notebook's folder, on one core, so that sums are added in one order. What changes from run to
run or from machine to machine is left out: times, progress bars and warnings on stderr, versions, and the name of the
repository's folder.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from weightgraft.errors import UserError, run_main
from weightgraft.progress import bar

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
ONE_CORE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def executed(notebook: Any, folder: Path) -> Any:
    """The notebook with the outputs of its cells. folder: where it runs.

    Raises:
        UserError: a cell fails; names the cell, its first line and the error.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # Sockets in a folder of its own instead of open ports, which any user of the machine could ask.
    with tempfile.TemporaryDirectory() as sockets, bar("notebook", len(code), "cells") as shown:
        client = NotebookClient(
            notebook,
            kernel_name=KERNEL["name"],
            timeout=None,
            iopub_timeout=600,  # seconds for what a cell shows, after which it would be left out
            raise_on_iopub_timeout=True,
            resources={"metadata": {"path": str(folder)}},
            on_cell_executed=lambda **_: shown.update(),
        )
        kernel = client.create_kernel_manager()
        kernel.transport, kernel.ip = "ipc", f"{sockets}/kernel"
        try:
            client.execute(env={**os.environ, **ONE_CORE, **OFFLINE})
        except CellExecutionError as error:
            failed = next(cell for cell in code if any(one.output_type == "error" for one in cell.outputs))
            raise UserError(
                f"code cell {code.index(failed) + 1} ({failed.source.splitlines()[0]}): {error.ename}: {error.evalue}"
            ) from None
    return notebook


def cleaned(notebook: Any, root: Path) -> Any:
    """The notebook with only what is the same in every run. root: a folder whose name is left out of texts."""
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number:02d}", {}
        if cell.cell_type == "code":
            cell.outputs = [
                without(output, f"{root}/")
                for output in cell.outputs
                if not (output.output_type == "stream" and output.name == "stderr")
            ]
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return nbformat.from_dict(notebook)


def without(value: Any, name: str) -> Any:
    """An output without a folder's name in any of its texts."""
    if isinstance(value, str):
        return value.replace(name, "")
    if isinstance(value, dict):
        return {key: without(part, name) for key, part in value.items()}
    return [without(part, name) for part in value] if isinstance(value, list) else value


def main() -> None:
    """Run one notebook, and write it anew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, nargs="?", default=Path("examples/quickstart.ipynb"))
    path = parser.parse_args().path
    if not path.is_file():
        raise UserError(f"{path}: no such notebook")
    notebook = executed(nbformat.read(path, as_version=4), path.parent)
    part = path.with_suffix(".part")
    nbformat.write(cleaned(notebook, Path.cwd()), part)
    os.replace(part, path)
    print(f"notebook: {path}")


if __name__ == "__main__":
    run_main(main)
