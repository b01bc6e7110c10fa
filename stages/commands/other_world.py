"""make world SEED=1: do the verdicts stand in another world, of another generate_facts.seed?

The whole study again, in a throw-away copy. Its verdicts are compared with results/verdicts; what changes sides is noted
in data/report_notes.yaml, for the report.
"""

import argparse
from pathlib import Path

import pandas as pd
from ruamel.yaml import YAML

from stages.analysis.verdicts import fragile
from stages.commands.quick import make_copy, repro
from stages.study.params import load_section
from weightgraft.errors import UserError, run_main


def read_verdicts(folder: Path) -> pd.DataFrame:
    """All verdicts in a folder.

    Raises:
        UserError: there are none.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise UserError(f"{folder}: no verdicts; run judge_claims first")
    return pd.concat([pd.read_csv(file) for file in files], ignore_index=True)


def note(path: Path, seed: int, changed: pd.DataFrame) -> None:
    """Put what changed sides in this world into the notes, in place of what stood there about it; comments stay."""
    yaml = YAML()
    notes = yaml.load(path.read_text(encoding="utf-8"))
    rows = [
        {"claim": row.claim, "model": row.model, "here": row.verdict, "there": row.other_verdict}
        for row in changed.itertuples()
    ]
    others = [world for world in notes["other_worlds"] if world["seed"] != seed]
    notes["other_worlds"] = [*others, {"seed": seed, "changed": rows}]
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(notes, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="generate_facts.seed of the other world")
    parser.add_argument("--copy", type=Path, help="where the copy lives (default: .world-SEED)")
    parser.add_argument(
        "--verdicts", type=Path, help="the other world's verdicts, if they were made elsewhere"
    )
    args = parser.parse_args()
    if args.seed == load_section("generate_facts.seed"):
        raise UserError(f"--seed is {args.seed}, the seed of this world; give another")
    source = Path.cwd()
    copy = (args.copy or Path(f".world-{args.seed}")).resolve()
    if args.verdicts is None:
        make_copy(source, copy, {"generate_facts.seed": args.seed}, cache=source / ".dvc/cache")
        repro(copy, "judge_claims")
    here, there = (
        read_verdicts(Path("results/verdicts")),
        read_verdicts(args.verdicts or copy / "results/verdicts"),
    )
    changed = fragile(here, there)
    note(Path("data/report_notes.yaml"), args.seed, changed)
    whole = here[here["prompt"] == "all"]
    print(
        f"other_world: seed {args.seed}: {len(changed)} of {len(whole)} verdicts go from holds to fails or back; "
        "noted for the report"
    )


if __name__ == "__main__":
    run_main(main)
