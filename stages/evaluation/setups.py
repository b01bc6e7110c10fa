"""Evaluate a setup: its models, its facts, every experiment, into one per-fact table."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel

from stages.evaluation.answers import Names, answers_of, bystanders, kinds_of, names_in, watching
from stages.evaluation.budgets import starting_budget
from stages.evaluation.chunks import (
    Chunk,
    Progress,
    finish,
    folder_of,
    processes,
    run_fingerprint,
)
from stages.evaluation.experiments import Subject, cases, patches
from stages.evaluation.mixtures import made_donors
from stages.evaluation.models import folders_of, load_models
from stages.evaluation.prompts import asked, encode_rows
from stages.evaluation.scoring import (
    against,
    base_answers,
    cell_sizes,
    chunks_of,
    questions,
    score_chunk,
    score_table,
)
from stages.frame.rows import read_jsonl
from weightgraft import GraftedModel, Prompt
from weightgraft.engine.portions import together
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.engine.scores import Scores
from weightgraft.engine.states import KEYS
from weightgraft.errors import UserError

BASE_ANSWER = "base_answer"  # an experiment's foil
OWN = "own"  # the dataset of facts of your own
COLUMNS = [
    "model", "seed", "setup", "dataset", "experiment", "prompt", "template", "template_split", "direction", "fact_id",
    "scheme", "draw", "target_rank", "target_logprob", "target_logit", "foil_logit", "exact_match", "top1_token", "watched_mass",
    "answer",
]  # fmt: skip


@dataclass(frozen=True)
class Question:
    """Prompts of an experiment that are scored alike. rows: of the facts; columns: (scheme, draw) of each."""

    experiment: str
    rows: list[Mapping]
    prompts: list[Prompt]
    columns: list[tuple[str, int]]
    whole: bool  # targets


def evaluate(args: argparse.Namespace, item: Mapping[str, Any], name: str) -> pd.DataFrame | None:
    """The per-fact table of a setup, one row a (experiment, prompt, template, direction, fact, scheme, draw); None on all
    processes but the main one, which waits for them.

    args: the command line (models.py). item: its settings, with sections `model`, `graft`, `setups` and `experiments`. name: of the
    setup.
    Columns: COLUMNS; log-probabilities in nats; ranks from 1; exact_match is missing where not the whole target was scored,
    watched_mass where the experiment watches nothing. answer: what kind of answer the most likely token is (answers.py).

    Raises:
        UserError: donors that are not the setup's, models that do not fit, facts that cannot be asked, a GPU that is not there
            or too small.
    """
    settings, setup, own = item["graft"], item["setups"][name], item["model"]
    experiments = {key: item["experiments"][key] for key in setup["experiments"]}
    left = set(setup["leave_out"])
    asked_prompts = [
        prompt
        for experiment in experiments.values()
        for prompt in experiment["prompts"]
        if prompt not in left
    ]
    recipient_folder, folders = folders_of(args, setup)
    facts = args.own if setup["dataset"] == OWN else args.facts
    told = read_jsonl(facts / f"prompts/{setup['dataset']}.jsonl")
    rows = asked(told, list(dict.fromkeys(asked_prompts)), settings["directions"], setup["halves"])
    if new := setup.get("unnamed_in"):
        rows = bystanders(rows, read_jsonl(facts / f"prompts/{new}.jsonl"))
    device = processes(own["device"]).device
    recipient, donors, tokenizers = load_models(recipient_folder, folders, own["dtype"], device)
    tokenizer, first = tokenizers[RECIPIENT], next(iter(setup["donors"]))
    prompts = encode_rows(tokenizer, rows)
    names = (
        Names({}, {prompt.target[0] for prompt in prompts}, set())
        if setup["dataset"] == OWN
        else names_in(facts / "prompts", told, settings["directions"], tokenizer)
    )
    try:
        made = made_donors(setup.get("made_donors", {}), donors, prompts, recipient.num_parameters())
        grafted = GraftedModel(recipient, {**donors, **made}, tokenizers)
        subject = Subject(grafted.anatomy, first, cell_sizes(recipient), settings["draws"], settings["seed"])
        evaluated = {key: cases(experiment, subject) for key, experiment in experiments.items()}
    except ValueError as error:
        raise UserError(str(error)) from error
    donor = donors[first]
    whole_donor = donor if isinstance(donor, PreTrainedModel) else None

    budget = starting_budget(settings["token_budget"], recipient, device, KEYS)
    parameters = recipient.num_parameters()
    tasks: list[tuple[Question, list[list[Chunk]]]] = []
    for key, experiment in experiments.items():
        wanted = patches(experiment, recipient.config.num_hidden_layers)
        if wanted and whole_donor is None:
            raise UserError(f"setups.{name}: donor {donor} is an adapter; patching needs a whole model")
        columns = [(case.scheme.name, case.draw) for case in evaluated[key]]
        columns += [(patch.name, 0) for patch in wanted]
        schemes = [case.scheme for case in evaluated[key]]
        for asked_rows, engine_prompts, whole in questions(experiment, rows, prompts, settings):
            against_it, watched = experiment.get("foil") == BASE_ANSWER, experiment.get("watched")
            if against_it or watched:
                answers, budget = base_answers(grafted, engine_prompts, budget, f"{name}: {key}")
                engine_prompts = against(engine_prompts, answers) if against_it else engine_prompts
            if watched:
                others = read_jsonl(facts / f"prompts/{watched['dataset']}.jsonl")
                of = {
                    names.own[name] for name in answers_of(others, settings["directions"], watched["halves"])
                }
                mine = {prompt.target[0] for prompt in prompts}
                engine_prompts = watching(engine_prompts, answers, of, mine)
            question = Question(key, asked_rows, engine_prompts, columns, whole)
            tasks.append((question, chunks_of(grafted, parameters, key, engine_prompts, schemes, wanted)))

    chunks = [chunk for _, blocks in tasks for block in blocks for chunk in block]

    def score(chunk: Chunk, progress: Progress) -> Scores:
        nonlocal budget
        scores, budget = score_chunk(chunk, grafted, (recipient, whole_donor), budget, name, progress)
        return scores

    shaping = {
        "model": own,
        "graft": settings,
        "setup": setup,
        "experiments": experiments,
        "libraries": item["libraries"],
    }
    run = run_fingerprint(shaping, {RECIPIENT: recipient_folder, **folders}, device)
    found = finish(chunks, folder_of(args.out) / name, run, score, name)
    if found is None:
        return None
    following = iter(found)
    tables = []
    for question, blocks in tasks:
        scores = together([together([next(following) for _ in block], dim=0) for block in blocks])
        table = score_table(question.rows, question.columns, scores, tokenizer, question.whole)
        if experiments[question.experiment].get("watched"):
            table["watched_mass"] = table["watched_mass"].fillna(0.0)
        answer = kinds_of(scores.top1_token.numpy(), question.columns, question.rows, question.prompts, names)
        tables.append(table.assign(experiment=question.experiment, answer=answer))
    table = pd.concat(tables, ignore_index=True)
    if setup.get("facts") == "half_known":
        table = half_known(table, settings["half_known_share"])
    return table.assign(model=args.model, seed=args.seed, setup=name, dataset=setup["dataset"])[COLUMNS]


def half_known(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """The rows of the share of the facts whose target PRE finds most likely, all prompts together: what it half knows."""
    of_pre = table[table["scheme"] == "PRE"].groupby("fact_id")["target_logprob"].mean()
    most_likely = of_pre.sort_values(ascending=False, kind="stable").index[
        : max(2, round(len(of_pre) * share))
    ]
    return table[table["fact_id"].isin(most_likely)].reset_index(drop=True)


def write_table(out: Path, scores: pd.DataFrame) -> None:
    """Write the per-fact table, whole or not at all, and say so with the number that matters."""
    part = out.with_name(out.name + ".part")
    scores.to_parquet(part, index=False)
    os.replace(part, out)
    knows = (scores.loc[scores["scheme"] == "SFT", "target_rank"] <= 5).mean()
    print(
        f"graft: {out}: {len(scores):,} rows, {scores['fact_id'].nunique()} facts under every scheme; "
        f"SFT's top-5 accuracy over all prompts {knows:.1%}"
    )
