"""Stage pretrain: one base model, with its tokenizer, trained from scratch on the base world's text; or obtained from its source.

Also keeps the model as it was early in that training: it knows the language and few of the facts, a contrast to finetuning.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.frame.rows import read_jsonl
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from stages.modeling.models import (
    build_model,
    device_of,
    is_main_process,
    load_model,
    save_model,
    set_up,
    share_recalled,
    write_json,
)
from stages.modeling.sources import obtain, obtain_early
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import discard, fingerprint, train

Made = tuple[PreTrainedModel, PreTrainedModel, PreTrainedTokenizerBase, dict[str, float]]


def trained(own: Mapping[str, Any], pretrain: Mapping[str, int], facts: Path, out: Path) -> Made:
    """(model, early, tokenizer, {loss}), trained on what the bases read; the checkpoints are left for the caller to discard."""
    texts = [row["text"] for row in read_jsonl(facts / f"texts/base_{own['base_forms']}.jsonl")]
    tokenizer = train_tokenizer(texts, **own["tokenizer"])
    model = build_model(own["family"], own["architecture"], tokenizer)
    checkpoint, early_epoch = Path(".ckpt") / out, pretrain["early_epoch"]
    run = fingerprint(own, pretrain, texts)
    loss = train(
        *(model, tokenizer, texts, own["pretrain"], own["device"], pretrain["seed"], checkpoint, run),
        snapshot_epoch=early_epoch,
    )
    early, _ = load_model(checkpoint / "snapshot")
    return model, early, tokenizer, {"loss": loss}


def obtained(own: Mapping[str, Any], pretrain: Mapping[str, int], facts: Path, out: Path) -> Made:
    """(model, early, tokenizer, {}), from the hub, a local folder, packages or a GGUF file."""
    model, tokenizer = obtain(own["source"], own["family"], own["architecture"], own["dtype"])
    return model, obtain_early(own["source"], model), tokenizer, {}


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
    own, seed = item["model"], item["pretrain"]["seed"]
    set_up(seed, own["threads"])
    if own["source"] and not is_main_process():
        return  # there is nothing to share out
    make = obtained if own["source"] else trained
    model, early, tokenizer, more = make(own, item["pretrain"], args.facts, args.out)
    for each, folder in ((model, args.out), (early, args.early)):
        save_model(each, tokenizer, folder, own["dtype"])
    if not is_main_process():
        return
    del model, early

    # As they are kept, and whole, where training has sharded them; one at a time.
    prompts = read_jsonl(args.facts / f"recall/{own['base_forms']}.jsonl")
    shares = {}
    for name, folder in (("own_casts_recalled", args.out), ("own_casts_recalled_early", args.early)):
        kept = load_model(folder, own["dtype"])[0]
        torch.nn.Module.to(kept, device_of(own["device"]))
        shares[name] = share_recalled(kept, tokenizer, prompts, k=1)
    write_json(args.metrics, {name: round(share, 4) for name, share in {**shares, **more}.items()})
    discard(Path(".ckpt") / args.out)  # the last step: a kill before it costs no update
    print(
        f"pretrain: {args.out} ({kept.num_parameters():,} parameters) recalls {shares['own_casts_recalled']:.1%} of its "
        f"own casts ({len(prompts)} prompts, top-1), the early model {shares['own_casts_recalled_early']:.1%}"
    )


if __name__ == "__main__":
    run_stage(main)
