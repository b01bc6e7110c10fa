"""Stage read_facts: facts of your own, from a csv and templates, into texts and prompts: the dataset `own`.

Where study.own asks for none it writes empty files, so that the stages behind it depend on your facts only if they are used.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from stages.facts.own import OwnFacts, fact_rows, prompt_rows, read_own, text_rows
from stages.frame.rows import write_jsonl
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage

PARTS: dict[str, Callable[[OwnFacts], list]] = {
    "facts": fact_rows,
    "texts": text_rows,
    "prompts": prompt_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for facts, texts and prompts")
    args = parser.parse_args()
    item = read_settings(args.settings)
    if not item["asked"]:
        for name in PARTS:
            write_jsonl(args.out / f"{name}/own.jsonl", [])
        print(f"read_facts: study.own is empty, so no facts of your own are read; {args.out} is empty")
        return
    folder = Path(item["read_facts"]["folder"])
    own = read_own(folder)
    for name, rows_of in PARTS.items():
        write_jsonl(args.out / f"{name}/own.jsonl", rows_of(own))
    splits = Counter(prompt.template_split for prompt in own.prompts)
    told = ", ".join(f"{count} {split}" for split, count in splits.items())
    print(
        f"read_facts: {len(own.facts)} facts of {folder} in {len(own.sentences)} sentences each; prompts: {told}; in {args.out}"
    )


if __name__ == "__main__":
    run_stage(main)
