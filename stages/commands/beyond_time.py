"""Where the time of make beyond goes: CPU seconds by study, as results/run_time.csv has them of make repro."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from stages.commands.repro import processor


def run_timed(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[int, float]:
    """A process' exit code, and the CPU seconds that it and the processes it waited for have used."""
    process = subprocess.Popen(command, cwd=cwd, env=env)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen would wait for a process that is gone
    return process.returncode, used.ru_utime + used.ru_stime


def time_table(seconds: Mapping[str, Sequence[float]], wall: float, cpu: float, cores: int) -> pd.DataFrame:
    """CPU seconds by part. seconds: of each start of a part; wall, cpu: seconds of it all, of this process and all others.

    Columns: part, starts, cpu_seconds, share (of cores x wall), cores, wall_seconds, processor. What no part used is that of
    copies, summaries and figures; what no process used is idle.
    """
    used = {part: sum(starts) for part, starts in seconds.items()}
    used["copies, summaries and figures"] = max(0.0, cpu - sum(used.values()))
    used["idle cores"] = max(0.0, cores * wall - sum(used.values()))
    rows = [
        {
            "part": part,
            "starts": len(seconds.get(part, ())),
            "cpu_seconds": round(amount),
            "share": round(amount / (cores * wall), 3),
        }
        for part, amount in sorted(used.items(), key=lambda one: -one[1])
    ]
    return pd.DataFrame(rows).assign(cores=cores, wall_seconds=round(wall), processor=processor())
