"""make explore: the explorer on the models of `make demo`, with the first of its facts."""

import argparse
from pathlib import Path

from stages.frame.rows import read_jsonl
from weightgraft.errors import UserError, run_main
from weightgraft.explorer import command


def options(copy: Path, model: str) -> list[str]:
    """The command line of `weightgraft explore` for what a demo left in its copy of the repository.

    Raises:
        UserError: there is no such demo.
    """
    recipient, donor = copy / f"runs/pretrain/{model}", copy / f"runs/finetune/{model}-0/own"
    if missing := [folder for folder in (recipient, donor) if not (folder / "config.json").is_file()]:
        raise UserError(
            f"make explore shows the models of the demo, and {missing[0]} is not there: run make demo first"
        )
    row = read_jsonl(copy / "runs/own/prompts/own.jsonl")[0]
    ((start, end), *_) = row["spans"]["FE"]
    asked = ["--prompt", row["text"], "--target", row["target"], "--span", f"FE={start}:{end}"]
    return ["--recipient", str(recipient), "--donor", f"sft={donor}", *asked, "--scheme", "FE+LT"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--copy", type=Path, default=Path(".demo"))
    parser.add_argument("--port", default=str(command.PORT))
    args = parser.parse_args()
    command.main([*options(args.copy, args.model), "--port", args.port])


if __name__ == "__main__":
    run_main(main)
