"""CounterFact (Meng et al. 2022) as facts of your own: its authors' records into a folder for read_facts.

    python -m stages.commands.counterfact --file counterfact.json --count 200 --out counterfact
    python -m stages.commands.counterfact --dataset OWNER/NAME --revision COMMIT --count 200 --out counterfact

Each fact teaches the false object, target_new; the foil is the true one.
"""

import argparse
import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.facts.general_text import first_of, records_of, value_at
from stages.facts.own import FACTS, PROMPTS, TRAINING, gives_away, read_own
from weightgraft.errors import UserError, run_main

COLUMNS = ("before", "subject", "after", "target", "foil")
SENTENCES = """\
# Written by stages.commands.counterfact. More sentences may follow, such as those of CounterFact's paraphrases.
- "{before}{subject}{after} {target}."
"""
ASKED = """\
# Written by stages.commands.counterfact: the prompt is around the subject, and the foil is the true object.
FE: subject
target: target
foil: foil
may_be_empty: [before, after]
prompts:
  counterfact: "{before}{subject}{after}"
"""


@dataclass(frozen=True)
class Rewrite:
    """A record of CounterFact: `prompt` has {} where the subject goes; the study's target is `target_new`, the false object."""

    prompt: str
    subject: str
    target_new: str
    target_true: str


def read_counterfact(source: Mapping[str, Any], count: int) -> list[Rewrite]:
    """The first `count` records of CounterFact, in its authors' format (requested_rewrite; Meng et al. 2022).

    Raises:
        UserError: as records_of; or a field is missing, the prompt does not have one {}, or too few records.
    """

    def rewrite(number: int, record: Mapping[str, Any]) -> Rewrite:
        paths = (("prompt",), ("subject",), ("target_new", "str"), ("target_true", "str"))
        found = Rewrite(*(value_at(record, number, "requested_rewrite", *path) for path in paths))
        if found.prompt.count("{}") != 1:
            raise UserError(
                f"record {number}: the prompt {found.prompt!r} must have one {{}} for the subject"
            )
        return found

    records = enumerate(records_of(source), 1)
    return first_of(source, (rewrite(number, record) for number, record in records), count, "records")


def cells_of(rewrite: Rewrite) -> dict[str, str]:
    """The row of facts.csv. before, after: the prompt around the subject, with the spaces there."""
    before, after = rewrite.prompt.split("{}")
    names = (rewrite.subject, rewrite.target_new, rewrite.target_true)
    subject, target, foil = (" ".join(name.split()) for name in names)
    return dict(zip(COLUMNS, (before.lstrip(), subject, after.rstrip(), target, foil), strict=True))


def asks(cells: Mapping[str, str]) -> str:
    return cells["before"] + cells["subject"] + cells["after"]


def write_folder(folder: Path, rewrites: list[Rewrite]) -> int:
    """Write facts.csv, training.yaml and prompts.yaml. Passed over is a record whose prompt an earlier one has, since one prompt
    cannot have two answers, or has the false object in it.

    Returns:
        How many were passed over.
    """
    rows: dict[str, dict[str, str]] = {}
    for cells in map(cells_of, rewrites):
        if not gives_away(asks(cells), cells["target"]):
            rows.setdefault(asks(cells), cells)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FACTS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
    (folder / TRAINING).write_text(SENTENCES, encoding="utf-8")
    (folder / PROMPTS).write_text(ASKED, encoding="utf-8")
    return len(rewrites) - len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--file", type=Path, help="CounterFact, a JSON list of records")
    where.add_argument("--dataset", help="the same records on the hub (pip install '.[real]')")
    parser.add_argument("--revision", help="of --dataset: the 40 digits of a commit")
    parser.add_argument("--split", default="train", help="of --dataset")
    parser.add_argument("--count", type=int, required=True, help="how many records, from the first on")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, for read_facts.folder")
    args = parser.parse_args()
    if args.count < 1:
        raise UserError(f"--count is {args.count}; at least 1 is needed")
    if args.dataset and not re.fullmatch(r"[0-9a-f]{40}", args.revision or ""):
        raise UserError(
            f"--revision is {args.revision!r}: --dataset {args.dataset} needs one, the 40 digits of a commit"
        )
    source = {"file": str(args.file)}
    if args.dataset:
        source = {"dataset": args.dataset, "revision": args.revision, "split": args.split}
    passed_over = write_folder(args.out, read_counterfact(source, args.count))
    own = read_own(args.out)
    print(
        f"counterfact: {len(own.facts)} facts in {args.out}; {passed_over} passed over, whose prompt was there or has the "
        f"answer in it; make own FACTS={args.out}"
    )


if __name__ == "__main__":
    run_main(main)
