"""Folders of whole models in shards, whose index or one of whose files is changed in one drawn way: refused in one line."""

import json
import random
from pathlib import Path
from typing import Any

from checkpoints import TOLERANCE, WEIGHTS, answer, copied
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_drawn_adapters import DRAWS, search
from test_drawn_models import INDEX, in_shards


def shards_of(folder: Path, to: Path) -> Path:
    path = copied(folder, to)
    in_shards(path, random.Random(0))
    return path


def listed_elsewhere(index: dict[str, str], rng: random.Random) -> None:
    key = rng.choice(sorted(index))
    index[key] = rng.choice(sorted({*index.values()} - {index[key]}))


def unlisted(index: dict[str, str], rng: random.Random) -> None:
    for key in rng.sample(sorted(index), rng.randint(1, len(index) - 1)):
        del index[key]


def listed_too_much(index: dict[str, str], rng: random.Random) -> None:
    index[rng.choice(["model.layers.9.mlp.up_proj.weight", "lm_head.bias", "x"])] = rng.choice(
        sorted({*index.values()})
    )


def listed_nowhere(index: dict[str, str], rng: random.Random) -> None:
    index[rng.choice(sorted(index))] = rng.choice(
        ["model-00009-of-00009.safetensors", "", "..", "/etc/passwd", "../base/model.safetensors"]
    )


def no_name(index: dict[str, Any], rng: random.Random) -> None:
    index[rng.choice(sorted(index))] = rng.choice([None, 3, ["model-00001-of-00004.safetensors"], {}])


@search(50)
@given(
    change=st.sampled_from([listed_elsewhere, unlisted, listed_too_much, listed_nowhere, no_name]), rng=DRAWS
)
def test_an_index_that_its_shards_contradict_is_refused(folder, tmp_path_factory, change, rng):
    path = shards_of(folder / "sft", tmp_path_factory.mktemp("shards") / "sft")
    index = json.loads((path / INDEX).read_text())
    change(index["weight_map"], rng)
    (path / INDEX).write_text(json.dumps(index))
    line = answer(folder / "base", path).line
    assert line.startswith(f"--donor sft={path}: ") and (
        "weight_map" in line or INDEX in line or "missing" in line
    ), line


@search(30)
@given(rng=DRAWS)
def test_a_shard_that_is_lost_cut_or_another_models_is_refused(folder, tmp_path_factory, rng):
    path = shards_of(folder / "sft", tmp_path_factory.mktemp("shards") / "sft")
    shard = rng.choice(sorted(path.glob("*.safetensors")))
    how = rng.choice(["lost", "cut", "pointer", "other", "empty", "linked"])
    data = shard.read_bytes()
    if how == "other":
        weights = load_file(shard)
        weights[rng.choice(sorted(weights)) + "s"] = weights.pop(rng.choice(sorted(weights)))
        save_file(weights, shard)
    elif how in ("lost", "linked"):
        shard.unlink()
        if how == "linked":
            shard.symlink_to("../../blobs/4665")
    else:
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 3134576\n"
        shard.write_bytes({"cut": data[: rng.randrange(len(data))], "pointer": pointer, "empty": b""}[how])
    line = answer(folder / "base", path).line
    assert line.startswith(f"--donor sft={path}: ") and (how == "other" or shard.name in line), line


def test_the_single_file_is_read_before_the_shards_and_the_note_says_so(folder, tmp_path):
    path = shards_of(folder / "sft", tmp_path / "both")
    (path / WEIGHTS).write_bytes((folder / "base" / WEIGHTS).read_bytes())
    found = answer(folder / "base", path)
    assert (
        abs(found.sft - found.pre) <= TOLERANCE
        and "two candidates: model.safetensors was read" in found.notes[0]
    )
    assert "exactly the recipient's weights" in found.notes[1]
