"""Stage summarize: the per-fact tables of a model and seed in, summaries with intervals and a few headline metrics out."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from stages.analysis.summary import headline_metrics, summarize
from stages.analysis.tables import read_scores, write_csv
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from weightgraft.errors import UserError
from weightgraft.progress import bar


def closing_line(out: Path, summaries: Mapping[str, pd.DataFrame]) -> str:
    """What was written, and the number that matters: how much of SFT FE+LT recovers in the first setup that has it."""
    every = pd.concat(summaries.values(), ignore_index=True)
    line = f"summarize: {out}: {len(summaries)} setups, {len(every):,} rows, {every['n'].max()} facts"
    rows = every[(every["metric"] == "recovered_logprob") & (every["scheme"] == "FE+LT")]
    if len(rows := rows[rows["estimate"].notna()]):
        row = rows.iloc[0]
        line += (
            f"; {row['setup']}, {row['prompt']}: {row['scheme']} recovers {row['estimate']:.3f} "
            f"[{row['low']:.3f}, {row['high']:.3f}] of SFT's log-probability"
        )
    if "p_holm" in every and (tested := every["p_holm"].notna()).any():
        line += f"; {(every['p_holm'] <= 0.05).sum()} of {tested.sum()} cells of the maps differ from PRE"
    return line


def main() -> None:
    """Read the arguments, summarize, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--scores", type=Path, required=True, help="folder of the per-fact tables (parquet)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the summaries, one csv a setup")
    parser.add_argument("--metrics", type=Path, required=True, help="headline numbers (json)")
    arguments = parser.parse_args()
    item = read_settings(arguments.settings)
    paths = {setup: arguments.scores / f"{setup}.parquet" for setup in item["setups"]}
    tables = {setup: read_scores(path) for setup, path in paths.items()}
    summaries = {}
    with bar(f"summarize: {arguments.scores.name}", len(tables), "setups") as shown:
        for setup, table in tables.items():
            try:
                summaries[setup] = summarize(table, **item["summarize"])
            except UserError as error:
                raise UserError(f"{paths[setup]}: {error}") from error
            shown.update()
    arguments.metrics.parent.mkdir(parents=True, exist_ok=True)
    for setup, summary in summaries.items():
        write_csv(summary, arguments.out / f"{setup}.csv")
    headlines = {setup: headline_metrics(summary) for setup, summary in summaries.items()}
    arguments.metrics.write_text(json.dumps(headlines, indent=2) + "\n", encoding="utf-8")
    print(closing_line(arguments.out, summaries))


if __name__ == "__main__":
    run_stage(main)
