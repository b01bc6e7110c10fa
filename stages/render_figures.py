"""Stage render_figures: summaries in, the study's figures out (PNG and SVG)."""

import argparse
from operator import itemgetter
from pathlib import Path

import matplotlib
import pandas as pd

from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from stages.plotting.figures import draw
from stages.plotting.needs import drawn_figures
from stages.plotting.results import read_published, read_real, read_summaries
from stages.plotting.style import save_figure
from stages.study.items import summary_items
from weightgraft.errors import UserError
from weightgraft.progress import bar
from weightgraft.style import RC


def render(
    summaries: pd.DataFrame, published: dict[str, pd.DataFrame], study: dict, section: dict, out: Path
) -> list[str]:
    """Draw every figure of the section whose setups the study has; gives the names of those written."""
    names = drawn_figures(section["figures"], study)
    if not names:
        raise UserError(
            f"render_figures.figures: none can be drawn from {', '.join([*study['recipes'], *study['own'], *study['setups']])}"
        )
    with matplotlib.rc_context(RC), bar("render_figures", len(names), "figures", leave=False) as shown:
        for name in names:
            figure = draw(name, section["figures"][name], summaries, published, study, section)
            save_figure(figure, out / name)
            shown.update()
    return names


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
    names = render(summaries, read_published(arguments.published), study, section, arguments.out)
    print(closing_line(arguments.out, names, summaries))


if __name__ == "__main__":
    run_stage(main)
