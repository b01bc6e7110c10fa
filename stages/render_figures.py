"""Stage render_figures: summaries in, the study's figures out (PNG and SVG), several at a time."""

import argparse
import gc
import os
from functools import partial
from operator import itemgetter
from pathlib import Path

import matplotlib
import pandas as pd

from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from stages.plotting.figures import draw
from stages.plotting.needs import drawn_figures, setups_of
from stages.plotting.processes import side_by_side, uncollected
from stages.plotting.results import read_published, read_real, read_summaries, real_setups
from stages.plotting.style import save_figure
from stages.study.items import summary_items
from weightgraft.errors import UserError
from weightgraft.progress import bar
from weightgraft.style import RC


def render(
    summaries: pd.DataFrame,
    published: dict[str, pd.DataFrame],
    study: dict,
    section: dict,
    out: Path,
    processes: int = 1,
) -> list[str]:
    """Draw every figure of the section whose setups the study has; gives the names of those written.

    processes: how many draw side by side; the bytes are the same.
    """
    names = drawn_figures(section["figures"], study, real_setups(summaries, section.get("real", ())))
    if not names:
        raise UserError(
            f"render_figures.figures: none can be drawn from {', '.join([*study['recipes'], *study['own'], *study['setups']])}"
        )
    # Each process is sent the rows of its figure's setups alone. The last figure first: maps take longest, the schematic the
    # shortest, so that all processes end at about the same time.
    order = names[::-1]
    setups = [setups_of(section["figures"][name]) for name in order]
    rows = (summaries[summaries["setup"].isin(of_figure)] for of_figure in setups)
    write = partial(write_figure, published=published, study=study, section=section, out=out)
    with side_by_side(min(processes, len(names)), "render_figures") as run:
        written = run(write, order, rows)
        with bar("render_figures", len(names), "figures", leave=False) as shown:
            for _ in written:
                shown.update()
    return names


def write_figure(
    name: str,
    summaries: pd.DataFrame,
    published: dict[str, pd.DataFrame],
    study: dict,
    section: dict,
    out: Path,
) -> None:
    """Draw one figure and write its files."""
    with uncollected(), matplotlib.rc_context(RC):
        save_figure(draw(name, section["figures"][name], summaries, published, study, section), out / name)
    gc.collect()


def closing_line(out: Path, names: list[str], summaries: pd.DataFrame) -> str:
    """What was written, and the number that matters: where the two pathways together recover least."""
    rows = summaries[
        (summaries["experiment"] == "positions")
        & (summaries["scheme"] == "FE+LT")
        & (summaries["metric"] == "recovered_logprob")
        & summaries["prompt"].isin(["headline", "qa"])
    ].dropna(subset="estimate")
    line = f"{out}: {len(names)} figures ({', '.join(names)})"
    if rows.empty:
        return line
    least = rows.loc[rows["estimate"].idxmin()]
    place = f"{least['model']}, {least['setup']}, {least['prompt']}"
    return f"{line}; FE+LT recovers at least {least['estimate']:.3f} of SFT's log-probability ({place})"


def main() -> None:
    """Read the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--summaries", type=Path, required=True, help="folder of the summaries (csv)")
    parser.add_argument(
        "--real", type=Path, required=True, help="folder of what `make real` found; may be empty"
    )
    parser.add_argument("--published", type=Path, required=True, help="folder of the published values (csv)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    arguments = parser.parse_args()
    study, section = itemgetter("study", "render_figures")(read_settings(arguments.settings))
    summaries = pd.concat(
        [
            read_summaries(arguments.summaries, summary_items(study)),
            *read_real(arguments.real, section.get("real", ())),
        ],
        ignore_index=True,
    )
    published, cores = read_published(arguments.published), os.cpu_count() or 1
    names = render(summaries, published, study, section, arguments.out, processes=cores)
    print(closing_line(arguments.out, names, summaries))


if __name__ == "__main__":
    run_stage(main)
