"""Stage read_facts: facts of your own, from a csv and templates, into texts and prompts: the dataset `own`."""

import argparse
from collections import Counter
from pathlib import Path

from stages.facts.own import fact_rows, prompt_rows, read_own, text_rows
from stages.facts.tables import write_jsonl
from stages.study.params import read_settings
from weightgraft.errors import run_main


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for facts, texts and prompts")
    args = parser.parse_args()
    folder = Path(read_settings(args.settings)["read_facts"]["folder"])
    own = read_own(folder)
    for name, rows in (("facts", fact_rows(own)), ("texts", text_rows(own)), ("prompts", prompt_rows(own))):
        write_jsonl(args.out / f"{name}/own.jsonl", rows)
    splits = Counter(prompt.template_split for prompt in own.prompts)
    told = ", ".join(f"{count} {split}" for split, count in splits.items())
    print(
        f"read_facts: {len(own.facts)} facts of {folder} in {len(own.sentences)} sentences each; prompts: {told}; in {args.out}"
    )


if __name__ == "__main__":
    run_main(main)
