"""Stage pretrain: one base model, with its tokenizer, trained from scratch on the base world's text.

Also keeps the model as it was early in that training: it knows the language and few of the facts, a contrast to finetuning.
"""

import argparse
from pathlib import Path

from stages.facts.tables import read_jsonl
from stages.modeling.models import (
    build_model,
    load_model,
    save_model,
    set_up,
    share_recalled,
    write_json,
)
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import discard, fingerprint, train
from stages.params import read_settings, run_main


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--facts", type=Path, required=True, help="folder of generate_facts")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--early", type=Path, required=True, help="folder for the model early in training")
    parser.add_argument("--metrics", type=Path, required=True)
    args = parser.parse_args()
    item = read_settings(args.settings)
    own, seed, early_epoch = item["model"], item["pretrain"]["seed"], item["pretrain"]["early_epoch"]
    family, architecture, forms = own["family"], own["architecture"], own["base_forms"]
    tokenizer_settings, settings = own["tokenizer"], own["pretrain"]
    set_up(seed, own["threads"])

    texts = [row["text"] for row in read_jsonl(args.facts / f"texts/base_{forms}.jsonl")]
    tokenizer = train_tokenizer(texts, **tokenizer_settings)
    model = build_model(family, architecture, tokenizer)
    checkpoint = Path(".ckpt") / args.out
    run = fingerprint(family, architecture, tokenizer_settings, settings, seed, texts, early_epoch)
    loss = train(
        model, tokenizer, texts, settings, own["device"], seed, checkpoint, run, snapshot_epoch=early_epoch
    )
    save_model(model, tokenizer, args.out)
    early, _ = load_model(checkpoint / "snapshot")
    save_model(early, tokenizer, args.early)
    discard(checkpoint)

    prompts = read_jsonl(args.facts / f"recall/{forms}.jsonl")
    recalled, recalled_early = (share_recalled(each, tokenizer, prompts, k=1) for each in (model, early))
    shares = {"own_casts_recalled": recalled, "own_casts_recalled_early": recalled_early, "loss": loss}
    write_json(args.metrics, {name: round(share, 4) for name, share in shares.items()})
    print(
        f"pretrain: {args.out} ({model.num_parameters():,} parameters) recalls {recalled:.1%} of its own casts "
        f"({len(prompts)} prompts, top-1); after {early_epoch} epochs it recalled {recalled_early:.1%}"
    )


if __name__ == "__main__":
    run_main(main)
