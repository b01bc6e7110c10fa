"""Evaluate a setup: its models, its facts, every experiment, into one per-fact table."""

import argparse
from collections.abc import Mapping

import pandas as pd
from tqdm import tqdm
from transformers import PreTrainedModel

from stages.evaluation.experiments import Subject, cases, patches
from stages.evaluation.models import folders_of, load_models
from stages.evaluation.patching import score_patches
from stages.evaluation.prompts import asked, encode_rows
from stages.evaluation.scoring import cell_sizes, joined, questions, score_cases, score_table
from stages.facts.tables import read_jsonl
from stages.grafting import GraftedModel
from stages.grafting.schemes import RECIPIENT
from stages.params import UserError

COLUMNS = [
    "model", "seed", "setup", "dataset", "experiment", "prompt", "template", "template_split", "direction", "fact_id",
    "scheme", "draw", "target_rank", "target_logprob", "target_logit", "foil_logit", "exact_match", "top1_token",
]  # fmt: skip


def evaluate(
    args: argparse.Namespace, settings: Mapping, setup: Mapping, experiments: Mapping
) -> pd.DataFrame:
    """The per-fact table of a setup, one row a (experiment, prompt, template, direction, fact, scheme, draw).

    args: the command line (models.py). settings, setup, experiments: sections `graft`, `setups.*` and `experiments.*` of
    params.yaml. Columns: COLUMNS; log-probabilities in nats; ranks from 1; exact_match is missing where not the whole target
    was scored.

    Raises:
        UserError: donors that are not the setup's, models that do not fit, facts that cannot be asked.
    """
    left = set(setup["leave_out"])
    asked_prompts = [
        name for experiment in experiments.values() for name in experiment["prompts"] if name not in left
    ]
    recipient_folder, folders = folders_of(args.models, setup)
    rows = asked(
        read_jsonl(args.facts / f"prompts/{setup['dataset']}.jsonl"),
        list(dict.fromkeys(asked_prompts)),
        settings["directions"],
        setup["halves"],
    )
    recipient, donors, tokenizers = load_models(recipient_folder, folders)
    tokenizer, first = tokenizers[RECIPIENT], next(iter(setup["donors"]))
    prompts = encode_rows(tokenizer, rows)
    try:
        grafted = GraftedModel(recipient, donors, tokenizers)
        subject = Subject(grafted.anatomy, first, cell_sizes(recipient), settings["draws"], settings["seed"])
        evaluated = {name: cases(experiment, subject) for name, experiment in experiments.items()}
    except ValueError as error:
        raise UserError(str(error)) from error
    tables = []
    for name, experiment in experiments.items():
        columns = [(case.scheme.name, case.draw) for case in evaluated[name]]
        for asked_rows, engine_prompts, whole in questions(experiment, rows, prompts, settings):
            budget, label = settings["token_budget"], f"{args.setup}: {name}"
            scores = [score_cases(grafted, engine_prompts, evaluated[name], budget, label)]
            names = columns
            wanted = patches(experiment, recipient.config.num_hidden_layers)
            if wanted:
                donor = donors[first]
                if not isinstance(donor, PreTrainedModel):
                    raise UserError(
                        f"setups.{args.setup}: donor {donor} is an adapter; patching needs a whole model"
                    )
                with tqdm(total=len(engine_prompts), unit="prompt", desc=f"{args.setup}: patches") as bar:
                    scores.append(score_patches(recipient, donor, engine_prompts, wanted, budget, bar.update))
                names = columns + [(patch.name, 0) for patch in wanted]
            table = score_table(asked_rows, names, joined(scores), tokenizer, whole)
            tables.append(table.assign(experiment=name))
    scores = pd.concat(tables, ignore_index=True)
    if setup.get("facts") == "half_known":
        scores = half_known(scores, settings["half_known_share"])
    return scores.assign(model=args.model, seed=args.seed, setup=args.setup, dataset=setup["dataset"])[
        COLUMNS
    ]


def half_known(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """The rows of the share of the facts whose target PRE finds most likely, all prompts together: what it half knows."""
    of_pre = table[table["scheme"] == "PRE"].groupby("fact_id")["target_logprob"].mean()
    most_likely = of_pre.sort_values(ascending=False, kind="stable").index[
        : max(2, round(len(of_pre) * share))
    ]
    return table[table["fact_id"].isin(most_likely)].reset_index(drop=True)


def write_table(args: argparse.Namespace, scores: pd.DataFrame) -> None:
    """Write the per-fact table, and say so with the number that matters."""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    scores.to_parquet(args.out, index=False)
    knows = (scores.loc[scores["scheme"] == "SFT", "target_rank"] <= 5).mean()
    print(
        f"graft: {args.out}: {len(scores):,} rows, {scores['fact_id'].nunique()} facts under every scheme; "
        f"SFT's top-5 accuracy over all prompts {knows:.1%}"
    )
