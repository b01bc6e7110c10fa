"""The graft stage's command line for one setup of params.yaml, with random models in the places of the study's."""

import json
from pathlib import Path

from stages.study.params import read_yaml

# Which of the random models below stands for which model of the study.
MODELS = {
    "base": "base",
    "early": "sft1",
    **{recipe: "sft0" for recipe in read_yaml(Path("params.yaml"))["recipes"]},
}
MODELS |= {"half_a": "sft1", "b_to_a": "base", "lora": "lora"}


def graft_arguments(folder: Path, setup: str, out: Path, dtype: str = "float32", **models: str) -> list[str]:
    """The stage's arguments for one setup of params.yaml alone, with the random models that MODELS and `models` name."""
    name = "-".join([setup, dtype, *(f"{model}={path}" for model, path in sorted(models.items()))])
    item = json.loads((folder / "settings/graft/tiny-llama-0.json").read_text())
    settings, linked = folder / f"settings/{name}.json", folder / f"models/{name}"
    item["setups"] = {setup: item["setups"][setup]}
    item["model"]["dtype"] = dtype
    settings.write_text(json.dumps(item))
    linked.mkdir(parents=True, exist_ok=True)
    for model, path in (MODELS | models).items():
        (linked / model).unlink(missing_ok=True)
        if path:
            (linked / model).symlink_to(folder / path)
    given = {
        "--settings": settings, "--model": "tiny-llama", "--seed": 0, "--base": linked / "base", "--early": linked / "early",
        "--finetuned": linked, "--facts": folder / "facts", "--own": folder / "own", "--out": out,
    }  # fmt: skip
    return [str(word) for pair in given.items() for word in pair]
