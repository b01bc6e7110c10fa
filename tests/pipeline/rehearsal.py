"""A dress rehearsal of the paper's run, offline: `make rehearsal`. No test of the suite: at full width it takes most of an hour.

    PYTHONPATH=tests python tests/pipeline/rehearsal.py [--models llama-3_2-1b] [--layers 2] [--shrink] [--full-depth]

Local checkpoints of the paper's four models, with random weights in bfloat16, full width and vocabulary, few layers, in the hub's
layout; then the paper's whole study on them (every recipe, part and setup, few facts) through the same dvc.yaml, in a throw-away
copy of which nothing but params.yaml is changed. It ends with seconds and memory of every kind of stage, and fails where a stage
fails, a result is missing or not finite, or all takes more memory than --memory or more time than --minutes.
--full-depth: GPT-2 XL with all its layers, scored by the stage graft on E1 and on the map of positions by layers. No training.
The scores mean nothing: the weights are random.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from made_up_checkpoints import architectures, config_of, write_checkpoint, write_neighbour
from transformers import AutoTokenizer
from watching import GB, OverMemory, Watched, table_of, watch

from stages.commands.quick import dvc, make_copy
from stages.commands.scaling import packed_tokens
from stages.evaluation.memory import built
from stages.facts.real import make_world
from stages.facts.templates import read_training_forms
from stages.frame.settings import read_settings
from stages.generate_facts import base_texts, cast_texts
from stages.plotting.needs import drawn_figures
from stages.study.faults import choices
from stages.study.items import summary_items
from stages.study.params import read_yaml
from weightgraft.errors import UserError, run_main

MODELS = ("gpt2-xl", "pythia-2_8b", "llama-3_2-1b", "gemma-1_1-2b-it")
DEEP = "gpt2-xl"  # of --full-depth
NOISE = 0.02  # of the second model of --full-depth, as a share of the spread of each weight tensor
CHECKPOINT = 12  # bytes a parameter of a training checkpoint: weights and AdamW's moments in float32
FEWEST = 6  # facts


def rehearsed(
    params: Mapping[str, Any], shapes: Mapping[str, dict], folders: Path, facts: int, epochs: float
) -> dict[str, Any]:
    """What is changed in params.yaml, by dotted key: local folders for models, fewer layers, facts, epochs and resamples.
    Recipes, parts, setups, experiments, prompts and schemes stay the paper's."""
    changes: dict[str, Any] = {
        "study.models": list(shapes),
        "study.repeats.models": [],
        "study.new_form.models": [],
        "generate_facts.base_facts": facts + 2,
        "generate_facts.facts": facts,
        "summarize.resamples": 200,
        "judge_claims.resamples": 200,
    }
    for name, architecture in shapes.items():
        early = params["models"][name]["source"]["early"]
        changes[f"models.{name}.source"] = {"model": str(folders / name), "early": early}
        changes[f"models.{name}.architecture"] = architecture
        changes[f"models.{name}.device"] = "cpu"  # what is measured is this machine's memory
        changes[f"models.{name}.finetune.num_train_epochs"] = epochs
    return changes


def disk_needed(params: Mapping[str, Any], shapes: Mapping[str, dict]) -> int:
    """Bytes on the disk at most: every model's checkpoint, base, early model and whole finetuned models (hard links make one copy
    of what the cache has, too), and the largest checkpoint of a training."""
    study, recipes = params["study"], params["recipes"]
    whole = [name for name in (*study["recipes"], *study["parts"]) if not recipes[name]["lora"]]
    sizes = [built(config_of(params["models"][name]["family"], shapes[name])).parameters for name in shapes]
    return sum(sizes) * 2 * (3 + len(whole)) + max(sizes) * CHECKPOINT


def write_checkpoints(params: Mapping[str, Any], shapes: Mapping[str, dict], folders: Path) -> None:
    """The models, their tokenizers trained on the texts of the study's own world."""
    data = Path("data")
    forms = read_training_forms(data / "templates")
    world = make_world(params["generate_facts"], read_yaml(data / "words.yaml"), Path())
    rows = base_texts(world.base, forms, "all") + cast_texts(world.datasets["fmra"], forms["short"])
    texts = [row["text"] for row in rows]
    for name, architecture in shapes.items():
        model = params["models"][name]
        write_checkpoint(folders / name, model["family"], architecture, texts, model["dtype"])


def repro(copy: Path, limit: int, *target: str) -> tuple[list[Watched], int]:
    """`dvc repro` in the copy, watched: its stages, and the most that was on the disk.

    Raises:
        UserError: it failed, or took too much memory; its last lines have been printed.
    """
    log = copy.parent / "log"
    os.environ["PYTHONUNBUFFERED"] = "1"  # so that the log tells at once which stage has begun
    with log.open("wb") as out:
        try:
            code, stages, disk = watch(
                lambda: dvc(copy, "repro", *target, stdout=out, stderr=out).returncode,
                log,
                copy.parent,
                limit,
            )
        except OverMemory as error:
            raise UserError(f"rehearsal: {error}") from error
    if code:
        sys.stderr.write(log.read_text(errors="replace")[-3000:])
        raise UserError(f"rehearsal: dvc repro failed in stage {stages[-1].stage}")
    return stages, disk


def missing(copy: Path) -> list[str]:
    """What of the expected results is not there, or says nothing: summaries, verdicts, metrics, figures, the report."""
    params = read_yaml(copy / "params.yaml")
    study, faults = params["study"], []
    files = [
        *(f"results/verdicts/{model}-{seed}.csv" for model in study["models"] for seed in study["seeds"]),
        *(f"results/metrics/pretrain/{model}.json" for model in study["models"]),
        *(
            f"results/metrics/graft/{model}-{seed}.json"
            for model in study["models"]
            for seed in study["seeds"]
        ),
        *(f"figures/{name}.png" for name in drawn_figures(params["render_figures"]["figures"], study)),
        *("results/report.html", "results/verdicts.md"),
    ]
    faults += [file for file in files if not (copy / file).is_file() or not (copy / file).stat().st_size]
    for model, seed, setup in summary_items(study):
        file = copy / f"results/summary/{model}-{seed}/{setup}.csv"
        if not file.is_file():
            faults.append(str(file.relative_to(copy)))
            continue
        rows = pd.read_csv(file)
        lacking = {*params["setups"][setup]["experiments"]} - {*rows["experiment"]}
        finite = rows.loc[rows["metric"] == "mean_logprob", "estimate"].map(math.isfinite)
        if lacking or not len(finite) or not finite.all():
            faults.append(f"{file.relative_to(copy)}: {sorted(lacking) or 'mean_logprob is not finite'}")
    return faults


def rehearse(args: argparse.Namespace, work: Path) -> None:
    """Everything but --full-depth."""
    params, begun = read_yaml(Path("params.yaml")), time.monotonic()
    shapes = architectures(params, args.models, args.layers, args.shrink)
    needed, free = disk_needed(params, shapes), shutil.disk_usage(work).free
    print(
        f"rehearsal: up to {needed / GB:.1f} GB on the disk; {free / GB:.1f} GB are free at {work}",
        flush=True,
    )
    if needed > free:
        raise UserError(f"{work}: too little room; give another --folder, fewer --models or --layers")
    write_checkpoints(params, shapes, work / "models")
    print(f"rehearsal: checkpoints written in {time.monotonic() - begun:.0f} s", flush=True)
    copy = work / "study"
    make_copy(
        Path.cwd(),
        copy,
        rehearsed(params, shapes, work / "models", args.facts, args.epochs),
        Path("../cache"),
    )
    stages, disk = repro(copy, int(args.memory * GB))
    minutes = (time.monotonic() - begun) / 60
    table = table_of(stages, args.models)
    print(table.to_string(index=False))
    peak = max(stages, key=lambda watched: watched.peak)
    print(
        f"rehearsal: {minutes:.1f} minutes, at most {peak.peak / GB:.1f} GB of memory ({peak.stage}) and "
        f"{disk / GB:.1f} GB on the disk"
    )
    if faults := missing(copy):
        raise UserError(f"rehearsal: missing or empty: {'; '.join(faults)}")
    if minutes > args.minutes:
        raise UserError(f"rehearsal: more than --minutes {args.minutes:g}")
    if args.record:
        args.record.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(args.record, index=False)


def graft_alone(
    copy: Path, name: str, settings: Mapping[str, Any], models: Mapping[str, Path], limit: int
) -> Watched:
    """Run the stage graft by itself, as dvc.yaml does: what it took.

    Raises:
        UserError: it failed, or took too much memory; its last lines have been printed.
    """
    file, out, log = (copy / f"runs/{name}{end}" for end in (".json", ".parquet", ".log"))
    file.write_text(json.dumps(settings))
    command = [
        *(sys.executable, "-m", "stages.graft", "--settings", str(file), "--model", DEEP, "--seed", "0"),
        *("--setup", name, "--models", *(f"{role}={folder}" for role, folder in models.items())),
        *("--facts", str(copy / "runs/facts"), "--out", str(out)),
    ]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    with log.open("wb") as printed:
        streams: dict[str, Any] = {"stdout": printed, "stderr": printed}

        def work() -> int:
            return subprocess.run(command, cwd=copy, env=environment, **streams).returncode

        try:
            code, (taken,), _ = watch(work, log, copy.parent, limit)
        except OverMemory as error:
            raise UserError(f"rehearsal: {name}: {error}") from error
    if code or not pd.read_parquet(out)["target_logprob"].notna().all():
        sys.stderr.write(log.read_text(errors="replace")[-3000:])
        raise UserError(f"rehearsal: stages.graft failed on {name}")
    return taken


def full_depth(args: argparse.Namespace, work: Path) -> None:
    """GPT-2 XL with all its layers: E1's eight schemes and the map of positions by layers, on the facts of half a."""
    params = read_yaml(Path("params.yaml"))
    shapes = architectures(params, [DEEP], None, args.shrink)
    write_checkpoints(params, shapes, work / "models")
    base, other = work / "models" / DEEP, work / "models/neighbour"
    write_neighbour(base, other, NOISE, params["models"][DEEP]["dtype"])
    copy = work / "study"
    make_copy(
        Path.cwd(),
        copy,
        rehearsed(params, shapes, work / "models", args.facts, args.epochs),
        Path("../cache"),
    )
    limit = int(args.memory * GB)
    repro(copy, limit, "generate_facts")
    for setup, experiment in (("fmra", "positions"), ("maps", "position_layer")):
        item = read_settings(copy / f"runs/settings/graft/{DEEP}-{setup}.json")
        item["experiments"] = {experiment: item["experiments"][experiment]}
        item["setup"] |= {"experiments": [experiment], "halves": ["a"], "leave_out": ["paraphrases"]}
        taken = graft_alone(copy, setup, item, {"base": base, "fmra": other}, limit)
        scores = pd.read_parquet(copy / f"runs/{setup}.parquet")
        facts = scores["fact_id"].nunique()
        alone = {"study": {"recipes": [setup], "setups": []}, "setups": {setup: item["setup"]}, **item}
        tokens, _ = packed_tokens(DEEP, alone, copy / "runs/facts", AutoTokenizer.from_pretrained(base))
        print(
            f"full depth: {experiment}: {scores['scheme'].nunique()} schemes on {facts} facts, {len(scores):,} scores, "
            f"{tokens * facts:,.0f} packed tokens: {taken.seconds:.0f} s with loading, "
            f"{tokens * facts / taken.seconds:.0f} tokens a second, at most {taken.peak / GB:.1f} GB",
            flush=True,
        )


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        UserError: names the option, the value and the valid choices.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--layers", type=int, default=2, help="of every model")
    parser.add_argument("--facts", type=int, default=6, help="of each dataset; the bases know two more")
    parser.add_argument("--epochs", type=float, default=0.5, help="of finetuning; may be a fraction")
    parser.add_argument("--memory", type=float, default=24.0, help="GB that all processes together may take")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="that the run may take (not --full-depth)"
    )
    parser.add_argument("--shrink", action="store_true", help="tiny widths, to try the command itself")
    parser.add_argument("--full-depth", action="store_true", help=f"{DEEP} with all its layers, graft alone")
    parser.add_argument(
        "--folder",
        type=Path,
        help="work here and leave all there, so that a second run goes on (default: a temporary folder)",
    )
    parser.add_argument("--record", type=Path, help="csv for the table of a run without fault")
    args = parser.parse_args(words)
    for name in args.models:
        if name not in MODELS:
            raise UserError(f"--models: {name!r}: {choices(name, MODELS)}")
    if args.layers < 2:
        raise UserError(f"--layers is {args.layers}; at least 2: schemes take the second half of the layers")
    if args.facts < FEWEST:
        raise UserError(f"--facts is {args.facts}; at least {FEWEST}: every half needs foils")
    return args


def main() -> None:
    args = arguments()
    run = full_depth if args.full_depth else rehearse
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
        run(args, args.folder.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="rehearsal-") as work:
            run(args, Path(work))


if __name__ == "__main__":
    run_main(main)
