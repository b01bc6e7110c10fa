"""A small world's prompts, a tokenizer for them, and random models on disk with which a whole setup can be evaluated."""

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from made_up_setups import graft_arguments
from tiny_models import tiny_lora, tiny_model

from stages import graft
from stages.facts.templates import read_prompt_templates, read_training_forms
from stages.facts.world import build_world
from stages.frame.rows import write_jsonl
from stages.generate_facts import base_texts, prompt_rows
from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from stages.study.params import read_yaml
from stages.study.schema import Params
from stages.study.settings import settings_of, write_settings

DATA = Path("data")
PARAMS = read_yaml(Path("params.yaml"))
FACTS = 6


@pytest.fixture(scope="session")
def world():
    return build_world(40, FACTS, 20, 30, seed=0, words=read_yaml(DATA / "words.yaml"))


@pytest.fixture(scope="session")
def rows(world) -> list[dict]:
    """All prompts about FMRA."""
    return prompt_rows(world.datasets["fmra"], read_prompt_templates(DATA / "templates"))


@pytest.fixture(scope="session")
def tokenizer(world):
    texts = base_texts(world.base, read_training_forms(DATA / "templates"), "all")
    return train_tokenizer([row["text"] for row in texts], 700, bos=True)


@pytest.fixture(scope="session")
def folder(tmp_path_factory, world, tokenizer) -> Path:
    """settings/, facts/, and models base, sft0, sft1, lora (an adapter on base), merged (the same as a whole model)."""
    path = tmp_path_factory.mktemp("evaluation")
    templates = read_prompt_templates(DATA / "templates")
    for name, facts in {"base": world.base[:FACTS], **world.datasets}.items():
        write_jsonl(path / f"facts/prompts/{name}.jsonl", prompt_rows(facts, templates))
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 128}
    base = tiny_model("llama", seed=0, **sizes)
    save_model(base, tokenizer, path / "base")
    for i in range(2):
        save_model(tiny_model("llama", seed=i + 1, **sizes), tokenizer, path / f"sft{i}")
    adapter = tiny_lora(base, seed=3)
    save_model(adapter, tokenizer, path / "lora")
    save_model(adapter.merge_and_unload(), tokenizer, path / "merged")
    write_settings(path / "settings", settings_of(Params.model_validate(PARAMS), [], []))
    return path


@pytest.fixture(scope="session")
def evaluate(folder) -> Callable[..., Path]:
    """Evaluate a setup of params.yaml with the random models, through its stage's command line; gives the table's file."""

    def run_stage(setup: str, out: str, dtype: str = "float32", **models: str) -> Path:
        arguments = graft_arguments(folder, setup, folder / out, dtype, **models)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["graft", *arguments])
            # The deterministic mode that a stage switches on is the stage's own, not the other tests'.
            patched.setattr("torch.use_deterministic_algorithms", lambda mode: None)
            graft.main()
        return folder / out / f"{setup}.parquet"

    return run_stage


@pytest.fixture(scope="session")
def table(evaluate) -> Callable[..., pd.DataFrame]:
    """The per-fact table of a setup and models; each is evaluated once."""
    return cache(lambda setup, **models: pd.read_parquet(evaluate(setup, "scores", **models)))
