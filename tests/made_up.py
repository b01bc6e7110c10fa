"""Made-up summaries in the summaries' own form: every setup, experiment, scheme and metric of a study."""

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from stages.analysis.metrics import ANSWERED

QUESTIONS = ("headline", "qa")
# All of the study's: those of one finetuned model, and those made of several or asked otherwise.
RECIPES = ("fmfa", "fmra", "rmra_shuffled", "gentle", "lora")
SETUPS = (
    *("reversal", "hybrid", "maps", "patching", "pretraining", "half_known"),
    *("other_facts", "collateral", "strength", "static", "knock_out"),
)
PROMPTS = (*QUESTIONS, "movie_title", "long")
POSITIONS = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
TITLE = (
    *("PRE", "SFT", "FE", "LT", "FE+LT", "M", "M+LT", "FE+M", "FE+M+LT", "(FE+M)^C", "(FE+M+LT)^C"),
    *("R", "FE+R", "R+LT", "FE+R+LT"),
)
COMPONENTS = ("ATTN+O+FFN", "ATTN+FFN", "ATTN+O", "O+FFN", "FFN", "O", "O+FFN-UP", "O+FFN-DOWN")
HYBRIDS = ("relation", "NO FE", "FE ATTN", "FE FFN", "FE O+FFN", "FE FULL")
GATED = ("llama", "gemma")
LAYERS = range(6)
MAP_METRICS = (
    "top5_accuracy",
    "mean_logprob",
    "mean_logit_difference",
    "recovered_top5",
    "recovered_logprob",
    "recovered_logit_difference",
)
METRICS = (
    *(f"top{k}_accuracy" for k in (1, 5, 10, 20, 50, 100)),
    *("mean_rank", "median_rank", "mean_probability", "mean_logprob", "mean_logit_difference"),
    *("recovered_top5", "recovered_logprob", "recovered_logit_difference"),
    "mean_watched_mass",
    *ANSWERED,
)
# What a graft at these positions recovers, about; other schemes draw their number.
RECOVERED = {
    **{"PRE": 0.0, "SFT": 1.0, "FE": 0.5, "LT": 0.6, "FE+LT": 0.99, "(FE+LT)^C": 0.01},
    **{"FE^C": 0.6, "LT^C": 0.5, "M": 0.02, "M+LT": 0.7, "FE+M": 0.55, "FE+M+LT": 1.0},
}

LAYERS_ONLY = (
    *POSITIONS[2:],
    *(f"{name} | layers" for name in (*POSITIONS[2:], "all")),
    *("EMBED@FE", "UNEMBED@LT"),
)
PARTS = ("all", "second_half", "last_quarter")
NECESSITY = (
    *("PRE", "SFT", "FE", "FE[1/1]", "LT", "FE^C", "LT^C"),
    *(f"SFT except {name}@{at}[{part}]" for name in ("ATTN", "O", "FFN", "O+FFN", "all") for at in ("FE", "LT") for part in PARTS),
    *("SFT except EMBED@FE[all]", "SFT except EMBED@LT[all]", "SFT except UNEMBED@LT[all]", "SFT except O+FFN+UNEMBED@LT[all]"),
    *(f"{at} except {name}@FE[{part}]" for at in ("FE", "FE[1/1]") for name in ("ATTN", "O", "FFN", "O+FFN") for part in PARTS),
    "FE except EMBED@FE[all]",
)  # fmt: skip
OTHERS = ("FE", "LT", "FE+LT", "all", "FE | layers", "LT | layers", "FE+LT | layers")
COLLATERAL = (
    "PRE",
    "SFT",
    "FE",
    "LT",
    "FE+LT",
    *(f"{name} | layers" for name in ("FE", "LT", "FE+LT", "all")),
)
RANDOM = ("PRE", "SFT", "FE", "LT", "FE+LT", "FE_random", "LT_random")

Cells = list[tuple[str, str, str, tuple[str, ...]]]  # experiment, prompt, template_split, schemes


def cells(model: str, setup: str) -> Cells:
    """The experiments of a setup with their prompts and schemes, as the graft stage names them."""
    positions = [("positions", prompt, "seen", POSITIONS) for prompt in PROMPTS]
    if setup == "own":
        splits = {"lives": "seen", "workshop": "held_out"}
        return [("own_positions", prompt, split, POSITIONS) for prompt, split in splits.items()]
    if setup in ("fmfa", "frozen_tables"):
        return [*positions, *_asked("layers_only", ["PRE", "SFT", *LAYERS_ONLY])]
    if setup in ("rmra_shuffled", "gentle", "lora"):
        return positions
    if setup == "fmra":
        named = ("PRE", "SFT", "FE", "LT", "FE+LT", "M", "M+LT")
        return [
            *positions,
            *(("positions", "paraphrases", split, POSITIONS) for split in ("seen", "held_out")),
            *(("title", prompt, "seen", TITLE) for prompt in ("movie_title", "long")),
            *_asked("layers_only", ["PRE", "SFT", *LAYERS_ONLY]),
            *_asked("base_answer", POSITIONS[:6]),
            *_asked("necessity", NECESSITY),
            *_asked("unembedding", ["PRE", "SFT", *_unembeddings()]),
            *(("random_positions", prompt, "seen", RANDOM) for prompt in ("qa", "long")),
            ("other_name", "movie_title_other_name", "seen", named),
        ]
    if setup == "reversal":
        ranges = ("second_half", "last_quarter", "all")
        schemes = [f"{name}@LT[{layers}]" for layers in ranges for name in COMPONENTS]
        random = [f"{name}_random@LT[second_half]" for name in ("O+FFN", "FFN")]
        return _asked("components", ["PRE", "SFT", *schemes, "O+FFN@LT[last_eighth]", *random])
    if setup == "hybrid":
        return _asked("hybrid", ["PRE", "SFT", *HYBRIDS, *(f"{name} [all]" for name in HYBRIDS)])
    if setup == "patching":
        steps = [*map(str, LAYERS), "all", "late", "last"]
        patched = [f"patch {position}[{step}]" for position in ("FE", "LT", "FE+LT") for step in steps]
        return _asked("patching", ["PRE", "SFT", "FE", "LT", "FE+LT", *patched])
    if setup == "other_facts":
        return _asked("other_facts", [*POSITIONS[:5], *(f"other {name}" for name in OTHERS)])
    if setup == "collateral":
        return _asked("collateral", COLLATERAL)
    if setup in ("pretraining", "half_known"):
        return _asked(setup, POSITIONS)
    if setup == "strength":
        grafted = [
            f"{name} | {a}"
            for a in ("0.25", "0.5", "0.75", "1", "1.25")
            for name in ("FE", "LT", "FE+LT", "all")
        ]
        return _asked("strength", ["PRE", "SFT", *grafted])
    if setup == "static":
        return _asked(
            "static",
            ["PRE", "SFT", *(name + end for name in ("FE", "LT", "FE+LT") for end in ("", " | static"))],
        )
    if setup == "knock_out":
        parts = ("none", "1/3", "2/3", "3/3", "first_half", "second_half", "last_quarter", "all")
        return _asked(
            "knock_out",
            [
                "PRE",
                "SFT",
                *("cut LT<-FE", "FE, cut FE^C<-FE", "SFT, cut FE^C<-FE", "SFT, recipient:K+V@FE"),
                *(f"SFT, recipient:K+V@FE[{part}]" for part in ("first_half", "second_half", *parts[1:4])),
                *(f"{name} | cut {part}" for name in ("FE", "FE+LT", "SFT") for part in parts),
            ],
        )
    assert setup == "maps", setup
    return [
        ("layer_component", "headline", "seen", ("PRE", "SFT", *_layer_components(model))),
        *_asked(
            "heads", ["PRE", "SFT", *(f"O{{{head}}}@LT[{layer}]" for layer in LAYERS for head in range(4))]
        ),
        *_asked("position_layer", ["PRE", "SFT", *_position_layers()]),
    ]


def _asked(experiment: str, schemes: Iterable[str]) -> Cells:
    return [(experiment, prompt, "seen", tuple(schemes)) for prompt in QUESTIONS]


def _unembeddings() -> list[str]:
    return [f"{name}{end}" for name in POSITIONS[2:] for end in ("", " | PRE unembed", " | SFT unembed")]


def _layer_components(model: str) -> list[str]:
    gate = ["GATE"] if any(family in model for family in GATED) else []
    names = ["Q", "K", "V", "O", *gate, "UP", "DOWN", "ATTN_NORM", "MLP_NORM"]
    windows = [*map(str, LAYERS), *(f"{layer}-{layer + 1}" for layer in LAYERS[:-1])]
    return [f"{name}@{at}[{window}]" for at in ("LT", "FE") for name in names for window in windows]


def _position_layers() -> list[str]:
    last = LAYERS[-1]
    windows = [*map(str, LAYERS), *(f"0-{k}" for k in LAYERS[1:]), *(f"{k}-{last}" for k in LAYERS[1:-1])]
    return [f"{name}[{window}]" for name in ("FE", "LT", "R", "(FE+LT)^C") for window in windows]


def recovered(model: str, setup: str, prompt: str, scheme: str) -> float:
    """A number between -.1 and 1.1 that the names alone decide."""
    chance = zlib.crc32(f"{model} {setup} {prompt} {scheme}".encode()) / 2**32
    if (about := RECOVERED.get(scheme)) is not None:
        return about if about in (0.0, 1.0) else about + 0.12 * (chance - 0.5)
    if "[" in scheme and setup == "maps":
        return 0.3 * chance**3 - 0.02
    return 0.9 * chance**1.5


def values(strength: float, scale: float) -> dict[str, tuple[float, float, float]]:
    """Every metric's (estimate, low, high) for a scheme that recovers so much; `scale` widens its intervals."""
    shown = min(max(strength, 0.0), 1.0)
    table: dict[str, tuple[float, float, float]] = {}
    for k, power in zip((1, 5, 10, 20, 50, 100), (2.5, 1.6, 1.2, 0.9, 0.6, 0.4), strict=True):
        share = shown**power
        table[f"top{k}_accuracy"] = (share, max(0.0, share - 0.08 * scale), min(1.0, share + 0.07 * scale))
    rank = 1 + 200 * (1 - shown) ** 2
    table["mean_rank"] = (rank, 1 + 0.8 * (rank - 1), 1 + 1.25 * (rank - 1))
    table["median_rank"] = table["mean_rank"]
    table["mean_probability"] = (shown**2, max(0.0, shown**2 - 0.04), min(1.0, shown**2 + 0.04))
    table["mean_logprob"] = (6 * shown - 6, 6 * shown - 6.3, 6 * shown - 5.7)
    table["mean_logit_difference"] = (5 * shown - 1, 5 * shown - 1.5, 5 * shown - 0.4)
    table["mean_watched_mass"] = (0.2 * shown, max(0.0, 0.2 * shown - 0.03), 0.2 * shown + 0.03)
    rest = 1 - shown  # the kinds of answers are all that there are: their shares make 1
    for kind, share in zip(
        ANSWERED, (shown, *(rest * part for part in (0.05, 0.4, 0.3, 0.15, 0.1))), strict=True
    ):
        table[kind] = (share, max(0.0, share - 0.08 * scale), min(1.0, share + 0.07 * scale))
    for metric in ("recovered_top5", "recovered_logprob", "recovered_logit_difference"):
        wide = 0.0 if strength in (0.0, 1.0) else 0.03 * scale
        table[metric] = (strength, strength - wide, strength + 1.2 * wide)
    return table


def made_up_summary(
    model: str, seed: int, setup: str, *, n: int = 120, metrics: Iterable[str] = METRICS, holm: bool = False
) -> pd.DataFrame:
    """One summary file's table; `holm` adds the column of Holm-corrected p-values."""
    wanted = set(metrics) & set(MAP_METRICS if setup == "maps" else METRICS)
    dataset = {
        "fmfa": "fmfa",
        "rmra_shuffled": "rmra_shuffled",
        "pretraining": "base",
        "half_known": "base",
        "collateral": "base",
        "own": "own",
    }.get(setup, "fmra")
    facts = n // 2 if setup in ("hybrid", "other_facts") else n
    rows = []
    for experiment, prompt, split, schemes in cells(model, setup):
        for scheme in schemes:
            strength = recovered(f"{model}{seed or ''}", setup, prompt + split, scheme)
            for metric, numbers in values(strength, np.sqrt(120 / facts)).items():
                if metric in wanted and (
                    metric not in ANSWERED or experiment in ("positions", "other_facts", "collateral")
                ):
                    key = (model, seed, setup, dataset, experiment, prompt, split, "ab", scheme, metric)
                    rows.append((*key, facts, *numbers))
    columns = "model seed setup dataset experiment prompt template_split direction scheme metric n estimate low high"
    table = pd.DataFrame(rows, columns=columns.split())
    return table.assign(p_holm=np.where(table["low"] > 0.02, 0.001, 0.6)) if holm else table


def made_up_summaries(items: Iterable[tuple], **options: Any) -> pd.DataFrame:
    """The summaries of all items of a study in one table."""
    tables = [made_up_summary(*item, **options) for item in items]
    return pd.concat(tables, ignore_index=True)
