"""How the study grows with the paper's models, by arithmetic: the tables of docs/big_models.md.

    python -m stages.commands.scaling

Counted: parameters, texts and tokens, packed tokens of every setup at the model's depth, memory and disk. From data sheets: what a
GPU has. Assumed: which share of it is reached. Nothing here was measured on a GPU.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from stages.evaluation.experiments import Subject, cases, patches
from stages.evaluation.memory import GB, PUBLISHED, built, fits, published_config
from stages.evaluation.prompts import asked, encode_rows
from stages.evaluation.scoring import cell_sizes, questions
from stages.finetune import chosen
from stages.frame.rows import read_jsonl
from stages.modeling.memory import peak_parts
from stages.modeling.tokens import train_tokenizer
from stages.study.params import read_yaml
from weightgraft import GraftedModel
from weightgraft.errors import UserError, run_main

ENTRIES = {  # of params.yaml
    "gpt2-xl": "gpt2-xl",
    "pythia-2.8b": "pythia-2_8b",
    "llama-3.2-1b": "llama-3_2-1b",
    "gemma-1.1-2b": "gemma-1_1-2b-it",
}
VOCABULARY = 30_000  # of the tokenizer that counts: most words of the study's texts are one token
DATASETS = ("fmfa", "fmra", "rmra_shuffled")
BYTES = 2  # of a saved weight: the paper's models are kept in bfloat16
NARROW = 8  # width of a head of the models that only plan
SAMPLE = 12  # facts whose prompts are planned
# Bytes that an update moves for every trained parameter: the forward pass reads the float32 weight, writes and reads its bfloat16
# copy, and reads it again for gradient checkpointing (4 + 2 + 2 + 2); backward reads it and makes a gradient (2 + 2 + 2 + 4);
# clipping reads and scales the gradient (12); AdamW reads four numbers and writes three (28).
UPDATE_BYTES = 60
PASSES = 4  # forward, again for gradient checkpointing, and backward, which is two: of 2 operations a parameter and token
REACHED = 0.4  # of a GPU's bandwidth and of its dense bfloat16 operations


@dataclass(frozen=True)
class Gpu:
    """What the data sheet says. memory: bytes; bandwidth: bytes a second; speed: dense bfloat16 operations a second."""

    name: str
    memory: int
    bandwidth: float
    speed: float


GPUS = (
    Gpu("RTX 4090", 24 * GB, 1.008e12, 165e12),
    Gpu("A100 80 GB", 80 * GB, 2.039e12, 312e12),
    Gpu("H100 SXM", 80 * GB, 3.35e12, 989e12),
)


def updates_of(
    recipes: Sequence[str], params: Mapping[str, Any], texts: Mapping[str, list[dict]], entry: str
) -> float:
    """Updates of all these recipes on the facts of the texts, with this model's batch size and epochs."""
    model = params["models"][entry]
    total = 0.0
    for name in recipes:
        recipe = {**params["recipes"][name], **model.get("recipes", {}).get(name, {})}
        rows = len(chosen(texts[recipe["dataset"]], recipe)) / (1 - recipe["base_text_share"])
        epochs = model["finetune"]["num_train_epochs"] * recipe["epochs_factor"]
        total += rows * epochs / model["finetune"]["batch_size"]
    return total


def narrow(name: str) -> PreTrainedModel:
    """A model of a paper model's family, depth and heads whose width costs nothing: it plans what the real one would compute."""
    wide = published_config(name)
    hidden = NARROW * wide.num_attention_heads
    changes = {"hidden_size": hidden, "vocab_size": VOCABULARY}
    if wide.model_type == "gpt2":
        changes = {"n_embd": hidden, "vocab_size": VOCABULARY}
    else:
        changes["intermediate_size"] = hidden * wide.intermediate_size // wide.hidden_size
    if "head_dim" in PUBLISHED[name]:
        changes["head_dim"] = NARROW
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**(PUBLISHED[name] | changes))).eval()


def packed_tokens(
    name: str, params: Mapping[str, Any], facts: Path, tokenizer: PreTrainedTokenizerBase
) -> tuple[float, float]:
    """Of all setups of one model, for each fact: tokens that the engine computes, counted in whole passes over all layers, and
    tokens of activation patching, a pass each."""
    engine = patched = 0.0
    model, donor = narrow(name), narrow(name)
    n_layers = model.config.num_hidden_layers
    for setup_name in [*params["study"]["recipes"], *params["study"]["setups"]]:
        setup = params["setups"][setup_name]
        grafted = GraftedModel(model, dict.fromkeys(setup["donors"], donor))
        subject = Subject(
            grafted.anatomy, next(iter(setup["donors"])), cell_sizes(model), params["graft"]["draws"], 0
        )
        listed = read_jsonl(facts / f"prompts/{setup['dataset']}.jsonl")
        few = set(
            list(dict.fromkeys(row["fact_id"] for row in listed if row["half"] in setup["halves"]))[:SAMPLE]
        )
        for key in setup["experiments"]:
            experiment = params["experiments"][key]
            wanted = [prompt for prompt in experiment["prompts"] if prompt not in setup["leave_out"]]
            rows = asked(
                [row for row in listed if row["fact_id"] in few],
                wanted,
                params["graft"]["directions"],
                setup["halves"],
            )
            schemes = [case.scheme for case in cases(experiment, subject)]
            n_patches = len(patches(experiment, n_layers))
            asked_here = experiment | {"prompts": wanted}
            for _, some, _ in questions(asked_here, rows, encode_rows(tokenizer, rows), params["graft"]):
                engine += sum(grafted.node_counts(some, schemes)) / n_layers / len(few)
                patched += n_patches * sum(len(prompt.tokens) for prompt in some) / len(few)
    return engine, patched


def seconds(operations: float, moved: float, gpu: Gpu) -> float:
    """How long a GPU takes for operations and the bytes that move meanwhile, at the share of its data sheet that is reached."""
    return max(operations / gpu.speed, moved / gpu.bandwidth) / REACHED


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def training_row(
    name: str,
    params: Mapping[str, Any],
    texts: Mapping[str, list[dict]],
    lengths: Sequence[int],
    times: float,
) -> list[str]:
    """A paper model's row about finetuning all recipes but LoRA's. lengths: tokens of the texts; times: of so many facts."""
    entry, config, sizes = (
        params["models"][ENTRIES[name]],
        published_config(name),
        built(published_config(name)),
    )
    study, batch = params["study"], entry["finetune"]["batch_size"]
    whole = [one for one in (*study["recipes"], *study["parts"]) if not params["recipes"][one]["lora"]]
    updates = updates_of(whole, params, texts, ENTRIES[name]) * times
    parts = peak_parts(
        config, sizes.parameters, sizes.parameters, batch, max(lengths), bf16=True, checkpointing=True
    )
    peak = sum(parts.values())
    tokens = batch * sum(lengths) / len(lengths)
    cells = [
        f"{updates:,.0f}",
        f"{peak / GB:.0f} GB",
        f"{BYTES * sizes.parameters * (2 + len(whole)) / GB:.0f} GB",
    ]
    for gpu in GPUS:
        one = seconds(2 * PASSES * sizes.parameters * tokens, UPDATE_BYTES * sizes.parameters, gpu)
        cells.append(f"{updates * one / 3600:.0f} h" if fits(peak, gpu.memory) else "FSDP or LoRA")
    return [name, *cells]


def scoring_row(
    name: str, params: Mapping[str, Any], facts: Path, tokenizer: PreTrainedTokenizerBase, n_facts: int
) -> list[str]:
    """A paper model's row about all setups."""
    engine, patched = (n_facts * tokens for tokens in packed_tokens(name, params, facts, tokenizer))
    operations = 2 * built(published_config(name)).parameters * (engine + patched)
    times = [f"{seconds(operations, 0.0, gpu) / 60:.0f} min" for gpu in GPUS]
    return [name, f"{engine / 1e6:.1f} M", f"{patched / 1e6:.1f} M", *times]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--facts", type=Path, default=Path("runs/facts"), help="folder of generate_facts")
    parser.add_argument("--n-facts", type=int, default=1000, help="facts in a dataset")
    args = parser.parse_args()
    if not (args.facts / "texts").is_dir():
        raise UserError(f"--facts {str(args.facts)!r}: no facts there; run dvc repro generate_facts first")
    logging.set_verbosity_error()  # the narrow models' vocabulary is not the published one
    params = read_yaml(Path("params.yaml"))
    texts = {name: read_jsonl(args.facts / f"texts/{name}.jsonl") for name in DATASETS}
    written = [row["text"] for row in texts["fmra"]]
    tokenizer = train_tokenizer(written, VOCABULARY, bos=False)
    lengths = [len(tokens) for tokens in tokenizer(written)["input_ids"]]
    times = args.n_facts / len({row["fact_id"] for row in texts["fmra"]})
    gpus = [gpu.name for gpu in GPUS]
    trained = [training_row(name, params, texts, lengths, times) for name in PUBLISHED]
    print(table(["training", "updates", "peak", "weights on disk", *gpus], trained), end="\n\n")
    scored = [scoring_row(name, params, args.facts, tokenizer, args.n_facts) for name in PUBLISHED]
    print(table(["scoring", "packed tokens", "of patching", *gpus], scored))


if __name__ == "__main__":
    run_main(main)
