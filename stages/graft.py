"""Stage graft: score every scheme of every experiment on every fact of a recipe's dataset, into one per-fact table."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from stages.facts.tables import read_jsonl
from stages.grafting import GraftedModel, Prompt, Scheme, parse_scheme
from stages.grafting.encoding import encode_prompt
from stages.modeling.models import load_model, set_up
from stages.params import UserError, load_section, run_main


def foils(targets: Sequence[int]) -> list[int]:
    """For each target token the next fact's, going round, that begins with another token (DESIGN.md, "Results").

    Raises:
        UserError: all targets begin with the same token.
    """
    if len(set(targets)) < 2:
        raise UserError(
            "no foil: the targets of all facts begin with the same token; use more facts or names"
        )
    ring = [*targets, *targets]
    return [next(other for other in ring[i + 1 :] if other != target) for i, target in enumerate(targets)]


def encode_rows(tokenizer: Any, rows: Sequence[Mapping]) -> list[Prompt]:
    """Engine prompts, each with the target of another fact under the same template and direction as its foil.

    Raises:
        UserError: a span or the target does not align with tokens; names the fact.
    """
    prompts = []
    groups: dict[tuple, list[int]] = {}
    for i, row in enumerate(rows):
        spans = {name: [(start, end) for start, end in pairs] for name, pairs in row["spans"].items()}
        try:
            prompts.append(encode_prompt(tokenizer, row["text"], row["target"], spans))
        except ValueError as error:
            raise UserError(f"fact {row['fact_id']}, prompt {row['template']!r}: {error}") from error
        groups.setdefault((row["template"], row["direction"]), []).append(i)
    for members in groups.values():
        for i, foil in zip(members, foils([prompts[i].target[0] for i in members]), strict=True):
            prompts[i] = replace(prompts[i], foil=foil)
    return prompts


def score_experiment(
    grafted: GraftedModel,
    tokenizer: Any,
    rows: Sequence[Mapping],
    schemes: Sequence[Scheme],
    token_budget: int,
    label: str,
) -> pd.DataFrame:
    """One row per (prompt, scheme): how the grafted model ranks the target. Nothing is dropped."""
    prompts = encode_rows(tokenizer, rows)
    with tqdm(total=len(prompts), unit="prompt", desc=label) as bar:
        scores = grafted.score(
            prompts, schemes, token_budget=token_budget, progress=lambda done, _: bar.update(done - bar.n)
        )
    described = pd.DataFrame(rows)[["prompt", "template", "template_split", "direction", "fact_id"]]
    table = described.loc[described.index.repeat(len(schemes))].reset_index(drop=True)
    table["scheme"] = [scheme.name for scheme in schemes] * len(rows)
    for column in ("target_rank", "target_logprob", "target_logit", "foil_logit", "exact_match"):
        table[column] = getattr(scores, column).flatten().numpy()
    table["top1_token"] = [tokenizer.decode([token]) for token in scores.top1_token.flatten().tolist()]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="an entry of models: in params.yaml")
    parser.add_argument("--recipe", required=True, help="an entry of recipes: in params.yaml")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model, the recipient")
    parser.add_argument(
        "--finetuned", type=Path, required=True, help="folder of the finetuned model, the donor sft"
    )
    parser.add_argument("--facts", type=Path, required=True, help="folder of generate_facts")
    parser.add_argument("--out", type=Path, required=True, help="per-fact table (parquet)")
    args = parser.parse_args()
    params = load_section("graft")
    dataset = load_section(f"recipes.{args.recipe}.dataset")
    set_up(args.seed, load_section(f"models.{args.model}.threads"))

    rows = read_jsonl(args.facts / f"prompts/{dataset}.jsonl")
    recipient, tokenizer = load_model(args.base)
    donor, _ = load_model(args.finetuned)
    grafted = GraftedModel(recipient=recipient, donors={"sft": donor})
    tables = []
    tested = [row for row in rows if row["direction"] in params["directions"]]
    for name, experiment in params["experiments"].items():
        asked = [row for row in tested if row["prompt"] in experiment["prompts"]]
        schemes = [parse_scheme(notation, donor="sft") for notation in experiment["schemes"]]
        table = score_experiment(grafted, tokenizer, asked, schemes, params["token_budget"], f"graft: {name}")
        tables.append(table.assign(experiment=name))
    scores = pd.concat(tables, ignore_index=True).assign(
        model=args.model, seed=args.seed, recipe=args.recipe, dataset=dataset
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    scores.to_parquet(args.out, index=False)
    knows = (scores.loc[scores["scheme"] == "SFT", "target_rank"] <= 5).mean()
    print(
        f"graft: {args.out}: {len(scores):,} rows, {scores['fact_id'].nunique()} facts under every scheme; "
        f"SFT's top-5 accuracy over all prompts {knows:.1%}"
    )


if __name__ == "__main__":
    run_main(main)
