"""Where the seconds of a run go: each stage's process says how much of its CPU time went into imports and how much into its work.

Only where a run asks for it (stages/commands/repro.py): outputs never depend on it.
"""

import json
import os
import sys
import time
from collections.abc import Callable

from weightgraft.errors import run_main

ASKED = "STUDY_TIMES"  # the environment variable that names the file to which a line is added


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's main(), as run_main does, and tell its times. All that came before this call is imports."""
    imports = time.process_time()
    try:
        run_main(main)
    finally:
        if path := os.environ.get(ASKED):
            stage = os.path.splitext(os.path.basename(sys.argv[0]))[0]
            work = time.process_time() - imports
            line = json.dumps({"stage": stage, "imports": round(imports, 3), "work": round(work, 3)})
            with open(
                path, "a", encoding="utf-8"
            ) as file:  # one write of one line: whole, also beside other processes'
                file.write(line + "\n")
