"""What each item of the pipeline reads: params.yaml cut into one small file an item.

DVC hashes these files, so an item runs again when its own settings change and at no other time, and a stage cannot read
what it does not depend on. (DVC's own `params:` parse the whole of params.yaml anew for every item, at .1 s each.)
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.study.items import finetune_items, summary_items
from stages.study.schema import Params


def chosen(section: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: section[key] for key in keys}


def changed(section: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that are set."""
    return {key: value for key, value in section.items() if value is not None}


def recipe_of(section: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without `frozen` where it freezes nothing: what was trained before there was such a key stays valid."""
    return {key: value for key, value in section.items() if key != "frozen" or value}


def settings_of(valid: Params, engine: list[str], around: list[str]) -> dict[str, Any]:
    """The settings of every item that the study lists: path of the file in the folder of settings -> content.

    Args:
        valid: params.yaml, checked; what it leaves out has its default.
        engine: pinned libraries that shape weights and scores: with another version these are made again.
        around: pinned libraries of facts, analysis and figures.
    """
    params = valid.model_dump()
    study, models = params["study"], params["models"]
    items = summary_items(study)
    world, fetch = params["generate_facts"]["world"], params["fetch_films"]
    fetched = fetch if fetch["source"] == "imdb" else chosen(fetch, "source")
    files: dict[str, Any] = {
        "fetch_films": {"world": world} | ({"fetch_films": fetched} if world == "real" else {}),
        "generate_facts": chosen(params, "generate_facts") | {"libraries": around},
        "read_facts": {"asked": bool(study["own"]), "libraries": around}
        | (chosen(params, "read_facts") if study["own"] else {}),
    }
    for model in dict.fromkeys(model for model, _, _ in items):
        own = {key: models[model][key] for key in models[model] if key not in ("finetune", "recipes")}
        files[f"pretrain/{model}"] = chosen(params, "pretrain") | {"model": own, "libraries": engine}
    for model, recipe in finetune_items(study):
        files[f"finetune/{model}-{recipe}"] = {
            "model": chosen(models[model], "threads", "device", "dtype", "base_forms", "finetune"),
            "recipe": recipe_of(params["recipes"][recipe])
            | changed(models[model]["recipes"].get(recipe, {})),
            "libraries": engine,
        }
    for model, seed in dict.fromkeys((model, seed) for model, seed, _ in items):
        setups = [setup for *run, setup in items if run == [model, seed]]
        asked = [name for setup in setups for name in params["setups"][setup]["experiments"]]
        files[f"graft/{model}-{seed}"] = chosen(params, "graft") | {
            "model": chosen(models[model], "threads", "device", "dtype"),
            "setups": chosen(params["setups"], *setups),
            "experiments": chosen(params["experiments"], *dict.fromkeys(asked)),
            "libraries": engine,
        }
        files[f"summarize/{model}-{seed}"] = chosen(params, "summarize") | {
            "setups": setups,
            "libraries": around,
        }
    files["judge_claims"] = chosen(params, "study", "judge_claims") | {
        "families": {model: models[model]["family"] for model, _, _ in items},
        "counterparts": params["render_figures"]["counterparts"],
        "libraries": around,
    }
    files["render_figures"] = {
        "study": study,
        "render_figures": params["render_figures"] | {"real": [*params["real"]]},
        "libraries": around,
    }
    return {f"{name}.json": content for name, content in files.items()}


def write_settings(folder: Path, files: Mapping[str, Any]) -> None:
    """Write them; the same settings are the same bytes. The order of keys is kept: that of schemes is shown in figures."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
