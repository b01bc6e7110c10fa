"""Stage summarize: one per-fact table in, one summary with intervals and a few headline metrics out."""

import argparse
import json
from pathlib import Path

import pandas as pd

from stages.analysis.summary import headline_metrics, summarize
from stages.analysis.tables import read_scores
from stages.params import UserError, load_section, run_main


def closing_line(out: Path, summary: pd.DataFrame) -> str:
    """What was written, and the number that matters: how much of SFT FE+LT recovers, or else the best scheme."""
    line = f"summarize: {out}: {len(summary):,} rows, {summary['n'].max()} facts"
    rows = summary[(summary["metric"] == "recovered_logprob") & ~summary["scheme"].isin(["PRE", "SFT"])]
    rows = rows[rows["estimate"].notna()]
    if rows.empty:
        return line
    both = rows[rows["scheme"] == "FE+LT"]
    row = both.iloc[0] if len(both) else rows.loc[rows["estimate"].idxmax()]
    line += (
        f"; {row['prompt']}: {row['scheme']} recovers {row['estimate']:.3f} "
        f"[{row['low']:.3f}, {row['high']:.3f}] of SFT's log-probability"
    )
    tested = summary["p_holm"].notna()
    if tested.any():
        line += f"; {(summary['p_holm'] <= 0.05).sum()} of {tested.sum()} cells differ from PRE"
    return line


def main() -> None:
    """Read the arguments, summarize, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="per-fact table (parquet)")
    parser.add_argument("--out", type=Path, required=True, help="summary (csv)")
    parser.add_argument("--metrics", type=Path, required=True, help="headline numbers (json)")
    arguments = parser.parse_args()
    section = load_section("summarize")
    try:
        summary = summarize(read_scores(arguments.scores), **section)
    except UserError as error:
        raise UserError(f"{arguments.scores}: {error}") from error
    for path in (arguments.out, arguments.metrics):
        path.parent.mkdir(parents=True, exist_ok=True)
    summary.to_csv(arguments.out, index=False, float_format="%.6g", lineterminator="\n")
    arguments.metrics.write_text(json.dumps(headline_metrics(summary), indent=2) + "\n", encoding="utf-8")
    print(closing_line(arguments.out, summary))


if __name__ == "__main__":
    run_main(main)
