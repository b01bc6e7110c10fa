"""Stage summarize: one per-fact table in, one summary with intervals and a few headline metrics out."""

import argparse
import json
from pathlib import Path

import pandas as pd

from stages.analysis.summary import headline_metrics, summarize
from stages.params import UserError, load_section, run_main


def read_scores(path: Path) -> pd.DataFrame:
    """Read a per-fact table (parquet); UserError if there is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such per-fact table; run the graft stage first")
    try:
        return pd.read_parquet(path)
    except ValueError as error:  # pyarrow's word for a damaged or foreign file
        raise UserError(f"{path}: not a parquet table") from error


def closing_line(out: Path, summary: pd.DataFrame) -> str:
    """What was written, and the number that matters: how much of SFT the two pathways together recover."""
    rows = summary[(summary["scheme"] == "FE+LT") & (summary["metric"] == "recovered_logprob")]
    line = f"{out}: {len(summary)} rows, {summary['n'].max()} facts"
    if rows.empty:
        return line
    first = rows.iloc[0]
    return (
        f"{line}; {first['prompt']}: FE+LT recovers {first['estimate']:.3f} "
        f"[{first['low']:.3f}, {first['high']:.3f}] of SFT's log-probability"
    )


def main() -> None:
    """Read the arguments, summarize, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="per-fact table (parquet)")
    parser.add_argument("--out", type=Path, required=True, help="summary (csv)")
    parser.add_argument("--metrics", type=Path, required=True, help="headline numbers (json)")
    arguments = parser.parse_args()
    section = load_section("summarize")
    try:
        summary = summarize(
            read_scores(arguments.scores), resamples=section["resamples"], seed=section["seed"]
        )
    except UserError as error:
        raise UserError(f"{arguments.scores}: {error}") from error
    for path in (arguments.out, arguments.metrics):
        path.parent.mkdir(parents=True, exist_ok=True)
    summary.to_csv(arguments.out, index=False, float_format="%.6g", lineterminator="\n")
    arguments.metrics.write_text(json.dumps(headline_metrics(summary), indent=2) + "\n", encoding="utf-8")
    print(closing_line(arguments.out, summary))


if __name__ == "__main__":
    run_main(main)
