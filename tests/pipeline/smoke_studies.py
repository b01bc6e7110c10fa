"""What the pipeline's tests change in params.yaml: studies of smoke size, one of them behind a stand-in for a cluster's srun."""

from pathlib import Path

from stages.commands.quick import NOTHING_MORE
from stages.study.params import load_section

ROOT = Path(__file__).parents[2]
QUICK_TRAINING = {
    "num_train_epochs": 1,
    "batch_size": 16,
    "learning_rate": 0.002,
    "weight_decay": 0.0,
    "warmup_steps": 1,
}
SMALL = {
    "generate_facts.base_facts": 12,
    "generate_facts.facts": 6,
    "pretrain.early_epoch": 1,
    "models.tiny-gpt2.architecture.n_embd": 16,
    "models.tiny-gpt2-new.architecture.n_embd": 16,
    "models.tiny-llama.architecture.hidden_size": 16,
    "models.tiny-llama.architecture.intermediate_size": 32,
    "summarize.resamples": 100,
    "judge_claims.resamples": 100,
    **{
        f"models.{model}.{stage}.{key}": value
        for model in ("tiny-gpt2", "tiny-gpt2-new", "tiny-llama")
        for stage in ("pretrain", "finetune")
        for key, value in QUICK_TRAINING.items()
    },
    # One epoch more than the early checkpoint.
    **{
        f"models.{model}.pretrain.num_train_epochs": 2
        for model in ("tiny-gpt2", "tiny-gpt2-new", "tiny-llama")
    },
}
FIGURES = ("figure1", "figure2", "figure_title", "figure_own")  # tests/plotting draws all of them
SMALL["render_figures.figures"] = {
    name: figure
    for name, figure in load_section("render_figures.figures", ROOT / "params.yaml").items()
    if name in FIGURES
}
SMOKE = SMALL | NOTHING_MORE | {"study.models": ["tiny-gpt2", "tiny-llama"], "study.recipes": ["fmra"]}
# One item, at least, of everything that the study has.
WHOLE = SMALL | {
    "study.models": ["tiny-gpt2"],
    "study.recipes": ["fmra", "fmfa"],
    "study.repeats.recipes": ["fmra"],
    "study.repeats.setups": [],
    "study.new_form.models": ["tiny-gpt2-new"],
    "study.new_form.setups": [],
}
# Stands for a cluster's: writes down what it is asked for, and holds a base back until another one has been asked for too.
SRUN = """#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/asked"
case "$*" in *stages.pretrain*)
    touch "$here/begun.$$"; waited=0
    while [ "$(ls "$here" | grep -c begun)" -lt 2 ] && [ $waited -lt 900 ]; do sleep 0.1; waited=$((waited + 1)); done
    [ "$(ls "$here" | grep -c begun)" -ge 2 ] || exit 1;;
esac
while [ "$1" != python ]; do shift; done
exec "$@"
"""
LAUNCH = {
    "launch.train": "srun --ntasks=1 --gres=gpu:1 python",
    "launch.graft": "srun --ntasks=1 python",
}
