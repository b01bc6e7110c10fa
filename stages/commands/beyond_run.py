"""One run of make beyond, in a process of its own: finetuned with one seed, and grafted onto its base at every point that is kept.

It runs in the copy of the repository. What is finished (one table a training) is not done again; a killed training goes on.

    python -m stages.commands.beyond_run --study trajectory --model tiny-gpt2 --seed 1
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stages.commands.article_runs import ARTICLES, article_trainings, base_of, described, pretrained
from stages.commands.forms import nested_forms, texts_of, untested_forms
from stages.commands.kept_points import Training, finetune_settings, shares_of, train_keeping, updates_of
from stages.evaluation.chunks import code_digest, folder_of
from stages.evaluation.chunks import discard as discard_chunks
from stages.evaluation.setups import evaluate
from stages.finetune import recipe_texts
from stages.frame.rows import read_jsonl
from stages.frame.settings import read_settings
from stages.modeling.models import load_model, set_up, weights_digest, write_json
from stages.modeling.training import discard, fingerprint
from stages.study.params import load_section
from weightgraft.errors import run_main

RUNS = Path("runs/beyond")
SETTINGS, FACTS = Path("runs/settings"), Path("runs/facts")
EXPERIMENT = "layers_only"  # position schemes, whole and by layers only
SETUP = "trained_tables"  # the recipe's model onto its base; its name in the copy (beyond.py)


def trajectory(wanted: Mapping[str, Any], item: Mapping[str, Any], seed: int) -> list[Training]:
    """X8: the recipe itself, kept after equal shares of its updates."""
    recipe = item["recipe"]
    settings = finetune_settings(item["model"]["finetune"], recipe)
    texts = recipe_texts(FACTS, recipe, item["model"]["base_forms"], seed)
    points, updates = wanted["points"], updates_of(settings, len(texts))
    kept = {done: share / points for share, done in enumerate(shares_of(updates, points), start=1)}
    return [Training("whole", texts, settings, kept)]


def texts(wanted: Mapping[str, Any], item: Mapping[str, Any], seed: int) -> list[Training]:
    """X7: the recipe's facts told by few forms or by many, with as many updates."""
    recipe = item["recipe"]
    forms = untested_forms(Path("data/templates"), Path("data/beyond/forms.yaml"))
    facts = read_jsonl(FACTS / f"facts/{recipe['dataset']}.jsonl")
    trainings = []
    for number in wanted["forms"]:
        told = texts_of(facts, nested_forms(forms, number, seed), recipe)
        settings = finetune_settings(item["model"]["finetune"], recipe)
        settings["num_train_epochs"] = wanted["updates"] / updates_of(
            {**settings, "num_train_epochs": 1}, len(told)
        )
        trainings.append(Training(f"{number}-forms", told, settings, {wanted["updates"]: number}))
    return trainings


STUDIES = {"trajectory": trajectory, "texts": texts}


def scored(
    args: argparse.Namespace,
    grafted: Mapping[str, Any],
    base: Path,
    folders: Mapping[float | str, Path],
    out: Path,
) -> pd.DataFrame:
    """The per-fact table of every point, with a column `point`. grafted: settings of the stage graft; base: onto which."""
    tables = []
    for point, folder in folders.items():
        setup = {**grafted["setups"][SETUP], "donors": {"sft": folder.name}, "experiments": [EXPERIMENT]}
        places = argparse.Namespace(
            **{"model": args.model, "seed": args.seed, "facts": FACTS, "own": Path("runs/own"), "out": out},
            **{"base": base, "early": Path(f"runs/early/{args.model}")},
            finetuned=folder.parent,
        )
        table = evaluate(places, {**grafted, "setups": {args.study: setup}}, args.study)
        assert table is not None  # this is the only process
        tables.append(table.assign(point=point))
    return pd.concat(tables, ignore_index=True)


def is_done(path: Path, run: str) -> bool:
    """Whether the table of this very run is there."""
    return path.is_file() and set(pd.read_parquet(path, columns=["run"])["run"]) == {run}


def forget_others(study: str, start: str, trainings: Sequence[Training]) -> None:
    """Remove the tables of trainings that params.yaml no longer asks of this run: what is there is published."""
    for path in (RUNS / study).glob(f"{start}*"):
        if path.name.removeprefix(start).partition(".")[0] not in {training.name for training in trainings}:
            path.unlink()


def training_digest() -> str:
    """A hash of the code that trains here. A base that is trained tells of it by its weights, a really pretrained one does not."""
    root = Path(__file__).parent.parent
    files = [
        *sorted((root / "modeling").glob("*.py")),
        root / "finetune.py",
        root / "commands/kept_points.py",
    ]
    return fingerprint([path.read_text(encoding="utf-8") for path in files])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", choices=[*STUDIES, ARTICLES], required=True)
    parser.add_argument("--model", required=True, help="an entry of models: in params.yaml")
    parser.add_argument("--seed", type=int, required=True, help="of finetuning")
    args = parser.parse_args()
    wanted = load_section(f"beyond.{args.study}")
    item = read_settings(SETTINGS / f"finetune/{args.model}-{wanted['recipe']}.json")
    grafted = read_settings(SETTINGS / f"graft/{args.model}-{load_section('beyond.frozen_tables.seed')}.json")
    own, base = item["model"], Path(f"runs/pretrain/{args.model}")
    set_up(args.seed, own["threads"])  # the threads are a part of the fingerprint
    name = f"{args.study}/{args.model}-{args.seed}"
    reading, kept = None, Path(".ckpt") / RUNS / f"{name}-base"  # X6 alone has bases of its own
    if args.study == ARTICLES:
        pretrain = read_settings(SETTINGS / f"pretrain/{args.model}.json")["model"]
        reading = base_of(wanted, pretrain, base, FACTS, args.seed)
        trainings, origin = article_trainings(wanted, item, reading, FACTS), reading.run
    else:
        trainings, origin = STUDIES[args.study](wanted, item, args.seed), weights_digest(base)
    forget_others(args.study, f"{args.model}-{args.seed}-", trainings)
    for training in trainings:
        out = RUNS / f"{name}-{training.name}.parquet"
        made_from = (training, args.seed, origin, training_digest())
        prompts = (FACTS / f"prompts/{item['recipe']['dataset']}.jsonl").read_text(encoding="utf-8")
        run = fingerprint(*made_from, grafted, prompts, code_digest())
        if is_done(out, run):
            continue
        begun = time.process_time()
        if reading:
            base = pretrained(reading, kept)
        ready = time.process_time()
        set_up(args.seed, own["threads"])
        model, tokenizer = load_model(base)
        checkpoint = Path(".ckpt") / out.with_suffix("")
        folders = {point: checkpoint / f"points/{updates}" for updates, point in training.points.items()}
        train_keeping(
            *(model, tokenizer, training.texts, training.settings, own["device"], args.seed, checkpoint),
            run=fingerprint(*made_from),
            at=dict(zip(training.points, folders.values(), strict=True)),
        )
        trained = time.process_time()
        scores = scored(args, grafted, base, folders, out).assign(run=run)
        out.parent.mkdir(parents=True, exist_ok=True)
        if reading:
            write_json(out.with_suffix(".json"), described(reading, base, training, FACTS))
        part = out.with_name(out.name + ".part")
        scores.to_parquet(part, index=False)
        os.replace(part, out)
        discard(checkpoint)  # the last steps: a kill before them costs no update
        discard_chunks(folder_of(out))
        print(
            f"beyond: {out}: {len(training.texts):,} texts an epoch, {len(folders)} points; CPU seconds: base {ready - begun:.0f}, "
            f"training {trained - ready:.0f}, scoring {time.process_time() - trained:.0f}",
            flush=True,
        )
    discard(kept)


if __name__ == "__main__":
    run_main(main)
