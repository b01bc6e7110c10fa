"""Stage pretrain: one base model, with its tokenizer, trained from scratch on the base world's text."""

import argparse
from pathlib import Path

from stages.facts.tables import read_jsonl
from stages.modeling.models import build_model, save_model, set_up, share_recalled, write_json
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import discard, fingerprint, train
from stages.params import load_section, run_main


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="an entry of models: in params.yaml")
    parser.add_argument("--texts", type=Path, required=True, help="the base world's text")
    parser.add_argument("--prompts", type=Path, required=True, help="prompts about the base world's casts")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    family = load_section(f"models.{args.model}.family")
    architecture = load_section(f"models.{args.model}.architecture")
    tokenizer_settings = load_section(f"models.{args.model}.tokenizer")
    settings = load_section(f"models.{args.model}.pretrain")
    seed = load_section("pretrain")["seed"]
    set_up(seed, load_section(f"models.{args.model}.threads"))

    texts = [row["text"] for row in read_jsonl(args.texts)]
    tokenizer = train_tokenizer(texts, **tokenizer_settings)
    model = build_model(family, architecture, tokenizer)
    checkpoint = Path(".ckpt") / args.out
    run = fingerprint(family, architecture, tokenizer_settings, settings, seed, texts)
    loss = train(model, tokenizer, texts, settings, seed, checkpoint, run)
    save_model(model, tokenizer, args.out)
    discard(checkpoint)

    prompts = read_jsonl(args.prompts)
    recalled = share_recalled(model, tokenizer, prompts, k=1)
    write_json(args.metrics, {"own_casts_recalled": round(recalled, 4), "loss": round(loss, 4)})
    print(
        f"pretrain: {args.out} ({model.num_parameters():,} parameters) recalls {recalled:.1%} of its own casts "
        f"({len(prompts)} prompts, top-1)"
    )


if __name__ == "__main__":
    run_main(main)
