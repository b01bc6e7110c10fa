"""Stage finetune: one base model finetuned on the new facts of one dataset, by one recipe and seed."""

import argparse
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from stages.frame.rows import read_jsonl
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from stages.modeling.models import (
    is_main_process,
    load_model,
    save_model,
    set_up,
    weights_digest,
    write_json,
)
from stages.modeling.training import discard, fingerprint, train


def chosen(rows: list[dict], recipe: Mapping[str, Any]) -> list[dict]:
    """The rows of the recipe's directions and halves."""
    return [
        row for row in rows if row["direction"] in recipe["directions"] and row["half"] in recipe["halves"]
    ]


def recipe_texts(
    facts: Path, recipe: Mapping[str, Any], base_forms: str, seed: int, mixed_in: Path | None = None
) -> list[str]:
    """The texts that the recipe trains on: the chosen facts' texts, and others mixed in (E6) as a share of all texts: general
    text where generate_facts.general names one, else what the base has read about its world.

    facts: folder of generate_facts or read_facts. mixed_in: folder with the others' texts, if it is another.
    """
    others_in = (mixed_in or facts) / "texts"
    texts = [row["text"] for row in chosen(read_jsonl(facts / f"texts/{recipe['dataset']}.jsonl"), recipe)]
    share = recipe["base_text_share"]
    general, base = others_in / "general.jsonl", others_in / f"base_{base_forms}.jsonl"
    others = [row["text"] for row in read_jsonl(general if general.exists() else base)] if share else []
    number = round(len(texts) * share / (1 - share))
    return texts + random.Random(seed).choices(others, k=number) if number else texts


def freeze(model: PreTrainedModel, components: Sequence[str]) -> None:
    """Do not train these: embed, every table of vectors by token or place; unembed. One tensor that is both is frozen by either."""
    tables: dict[str, list[nn.Module]] = {
        "embed": [module for module in model.modules() if isinstance(module, nn.Embedding)],
        "unembed": [model.get_output_embeddings()],
    }
    for component in components:
        for table in tables[component]:
            table.requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--facts", type=Path, required=True, help="folder of generate_facts or read_facts")
    parser.add_argument("--mixed-in", type=Path, help="folder of generate_facts, where --facts is another")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finetuned model")
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    item = read_settings(args.settings)
    own, recipe = item["model"], item["recipe"]
    settings = own["finetune"]
    settings["learning_rate"] *= recipe["learning_rate_factor"]
    settings["num_train_epochs"] *= recipe["epochs_factor"]
    if recipe["weight_decay"] is not None:
        settings["weight_decay"] = recipe["weight_decay"]
    set_up(args.seed, own["threads"])

    texts = recipe_texts(args.facts, recipe, own["base_forms"], args.seed, args.mixed_in)
    base, tokenizer = load_model(args.base)
    freeze(base, recipe.get("frozen", []))
    model: PreTrainedModel | PeftModel = base
    if recipe["lora"]:  # the saved folder is then a peft adapter, not a whole model
        model = get_peft_model(base, LoraConfig(target_modules="all-linear", **recipe["lora"]))
    checkpoint = Path(".ckpt") / args.out
    run = fingerprint(settings, recipe, args.seed, texts, weights_digest(args.base))
    loss = train(model, tokenizer, texts, settings, own["device"], args.seed, checkpoint, run)
    save_model(model, tokenizer, args.out, own["dtype"])
    if not is_main_process():
        return
    write_json(args.metrics, {"loss": round(loss, 4)})
    discard(checkpoint)  # the last step: a kill before it costs no update
    print(
        f"finetune: {args.out} after {len(texts):,} texts an epoch: loss {loss:.3f} nats a token in the last epoch"
    )


if __name__ == "__main__":
    run_stage(main)
