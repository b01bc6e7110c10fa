"""make demo: a really pretrained model learns a dozen made-up facts, and one sees at which tokens and layers they come back.

In a throw-away copy of the repository (quick.py), which shares the cache: a second demo trains nothing again. Facts of one's own
(examples/README.md) go the same way.
"""

import argparse
import subprocess
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stages.commands.quick import make_copy, own_changes, repro
from stages.facts.own import prompt_rows, read_own
from weightgraft.errors import run_main

MODEL = "smollm2-135m"
# One training alone: on all cores. It takes its time by the token, and in updates of fewer texts fewer tokens do: four epochs of
# four texts an update where five of eight took half as long again.
TRAINED = {"threads": None, "finetune.batch_size": 4, "recipes.own.epochs_factor": 1.34}
SHOWN = {"top1_accuracy": "right answer first", "recovered_logprob": "recovered"}
EXPLAINED = """
PRE         the pretrained model, which has never read these facts; SFT: the same model finetuned on them
FE          the finetuned weights at the tokens of the {subject} alone, the pretrained ones elsewhere
LT          the finetuned weights at the last token of the prompt alone
X^C         the finetuned weights everywhere but at X
recovered   of what finetuning adds to the answer's log-probability: 0 is PRE, 1 is SFT"""


def changes_of(facts: Path) -> dict[str, Any]:
    """What the demo has in params.yaml. Raises UserError for the first fault of the facts."""
    return own_changes(MODEL, facts) | {f"models.{MODEL}.{key}": value for key, value in TRAINED.items()}


def scheme_table(summary: pd.DataFrame) -> str:
    """A line a scheme: each prompt's share of facts answered right at once, and the recovered fraction."""
    rows = summary[summary["metric"].isin(SHOWN) & (summary["direction"] == "ab")]
    table = rows.pivot(index="scheme", columns=["prompt", "metric"], values="estimate")
    wanted = [(prompt, metric) for prompt in rows["prompt"].unique() for metric in SHOWN]
    table = table.loc[rows["scheme"].unique(), wanted]
    table.columns = [f"{prompt}: {SHOWN[metric]}" for prompt, metric in wanted]
    return table.to_string(float_format="{:.2f}".format, index_names=False)


def draw_map(recipient: Path, donor: Path, row: Mapping[str, Any], out: Path) -> None:
    """The map of single cells of one prompt, by `weightgraft inspect`. Ends the process if it fails.

    row: of the prompts that a stage wrote: text, target, spans.
    """
    (start, end), *_ = row["spans"]["FE"]
    given = {
        "--recipient": recipient,
        "--donor": f"sft={donor}",
        "--prompt": row["text"],
        "--target": row["target"],
        "--span": f"FE={start}:{end}",
        "--out": out,
    }
    options = [str(word) for option in given.items() for word in option]
    command = [sys.executable, "-m", "weightgraft", "inspect", *options]
    if code := subprocess.run(command).returncode:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", type=Path, default=Path("examples/demo"))
    parser.add_argument("--copy", type=Path, default=Path(".demo"))
    args = parser.parse_args()
    own = read_own(args.facts)
    changes = changes_of(args.facts)
    copy = args.copy.resolve()
    make_copy(Path.cwd(), copy, changes, cache=Path.cwd() / ".dvc/cache")
    repro(copy)
    summary = pd.read_csv(copy / f"results/summary/{MODEL}-0/own.csv")
    print(f"\n{MODEL} on the {len(own.facts)} facts of {args.facts}:\n")
    print(scheme_table(summary))
    print(EXPLAINED.format(subject=own.asked.FE))
    picture = copy / "map.png"
    recipient, donor = copy / f"runs/pretrain/{MODEL}", copy / f"runs/finetune/{MODEL}-0/own"
    draw_map(recipient, donor, prompt_rows(own)[0], picture)
    page = copy / "results/report.html"
    print(
        f"demo: the map of the first fact is {args.copy / 'map.png'}, everything in one page {args.copy / 'results/report.html'}"
    )
    if sys.stdout.isatty():
        webbrowser.open(page.as_uri())


if __name__ == "__main__":
    run_main(main)
