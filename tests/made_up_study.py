"""A made-up study in the stages' own forms: summaries, verdicts, metrics, figures and params in one folder."""

import hashlib
import json
import zlib
from itertools import product
from pathlib import Path
from struct import pack

import pandas as pd
from made_up import COLLATERAL, NECESSITY, OTHERS, RECIPES, SETUPS, cells
from ruamel.yaml import YAML

from stages.analysis.metrics import ANSWERED
from stages.analysis.verdicts import COLUMNS
from stages.study.items import summary_items
from stages.study.params import read_yaml

REPOSITORY = Path(__file__).parents[1]
POSITIONS = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
LAYERS = range(6)
PATCHED = [*LAYERS, "all", "late", "last"]
RANGES = ("second_half", "last_quarter", "all")
COMPONENTS = ("ATTN+O+FFN", "ATTN+FFN", "ATTN+O", "O+FFN", "FFN", "O", "O+FFN-UP", "O+FFN-DOWN")
TWO = ("headline", "qa")
MIXED = ("strength", "static", "knock_out")
# experiment -> (prompts, schemes beside PRE and SFT)
EXPERIMENTS = {
    "positions": ((*TWO, "movie_title", "long"), POSITIONS[2:]),
    "title": (("movie_title", "long"), ("FE", "LT", "FE+LT", "M", "M+LT", "R")),
    "layers_only": (TWO, [*POSITIONS[2:], *(f"{s} | layers" for s in (*POSITIONS[2:], "all")), "EMBED@FE", "UNEMBED@LT"]),
    "unembedding": (TWO, [f"{s} | {m} unembed" for s in POSITIONS[2:] for m in ("PRE", "SFT")]),
    "random_positions": (("qa", "long"), ("FE", "LT", "FE+LT", "FE_random", "LT_random")),
    "other_name": (("movie_title_other_name",), ("FE", "LT", "FE+LT", "M", "M+LT")),
    "components": (
        TWO,
        [
            *(f"{component}@LT[{layers}]" for component in COMPONENTS for layers in RANGES),
            *("O+FFN_random@LT[second_half]", "FFN_random@LT[second_half]"),
        ],
    ),
    "hybrid": (TWO, ("relation", "NO FE", "FE ATTN", "FE FFN", "FE O+FFN", "FE FULL")),
    "layer_component": (TWO, [f"{c}@{p}[{i}]" for c in ("O", "UP", "ATTN_NORM") for p in ("LT", "FE") for i in LAYERS]),
    "heads": (TWO, [f"O{{{head}}}@LT[{i}]" for head in range(4) for i in LAYERS]),
    "position_layer": (TWO, [f"{p}[{i}]" for p in ("FE", "LT", "R", "(FE+LT)^C") for i in LAYERS]),
    "patching": (TWO, ["FE", "LT", "FE+LT", *(f"patch {p}[{i}]" for p in ("FE", "LT", "FE+LT") for i in PATCHED)]),
    "pretraining": (TWO, POSITIONS[2:]),
    "half_known": (TWO, POSITIONS[2:]),
    "necessity": (TWO, NECESSITY[2:]),
    "other_facts": (TWO, [*POSITIONS[2:5], *(f"other {name}" for name in OTHERS)]),
    "collateral": (TWO, COLLATERAL[2:]),
    **{name: (TWO, cells("tiny-gpt2", name)[0][3][2:]) for name in MIXED},
    "own_positions": (("lives", "workshop"), POSITIONS[2:]),
}  # fmt: skip
IN_SETUP = {
    "fmra": (
        "positions",
        "layers_only",
        "title",
        "unembedding",
        "random_positions",
        "other_name",
        "necessity",
    ),
    "reversal": ("components",),
    "hybrid": ("hybrid",),
    "maps": ("layer_component", "heads", "position_layer"),
    "patching": ("patching",),
    "pretraining": ("pretraining",),
    "half_known": ("half_known",),
    "other_facts": ("other_facts",),
    "collateral": ("collateral",),
    **{name: (name,) for name in MIXED},
    "own": ("own_positions",),
}
METRICS = (
    *("top1_accuracy", "top5_accuracy", "top100_accuracy", "mean_rank", "mean_probability"),
    *("mean_logit_difference", "recovered_logprob", "recovered_top5"),
    *("recovered_logit_difference", "mean_logprob", "mean_watched_mass"),
    *ANSWERED,
)
FIGURES = {
    "figure1": {"draws": "schematic"},
    "figure2": {"draws": "positions", "setup": "fmra", "metric": "top5_accuracy"},
    "figure3": {"draws": "hybrid", "setup": "hybrid", "metric": "top5_accuracy"},
    "figure4": {"draws": "components", "setup": "reversal", "metric": "top5_accuracy"},
    "figure5": {"draws": "hybrid_components", "setup": "hybrid", "metric": "top5_accuracy"},
    "figure_title": {"draws": "title", "setup": "fmra", "metric": "recovered_logprob"},
    "figure_paraphrases": {"draws": "paraphrases", "setup": "fmra", "metric": "recovered_logprob"},
    "figure_layers_only": {"draws": "layers_only", "setup": "fmra", "metric": "recovered_logprob"},
    "figure_unembedding": {"draws": "unembedding", "setup": "fmra", "metric": "recovered_logprob"},
    "figure_gentle": {"draws": "setups", "setup": ["fmra", "gentle"], "metric": "recovered_logprob"},
    "figure_datasets": {"draws": "setups", "setup": ["fmfa", "fmra", "rmra_shuffled"], "metric": "recovered_logprob"},
    "figure_patching": {"draws": "patching", "setup": "patching", "metric": "recovered_logprob"},
    "figure_metrics": {"draws": "metrics", "setup": "fmra"},
    "figure_controls": {"draws": "controls", "setup": ["fmra", "pretraining", "half_known"], "metric": "recovered_logprob"},
    "figure_new_form": {"draws": "new_form", "setup": ["fmra", "hybrid", "maps"], "metric": "recovered_logprob"},
    "figure_components_map": {"draws": "component_map", "setup": "maps", "metric": "recovered_logprob"},
    "figure_positions_map": {"draws": "position_map", "setup": "maps", "metric": "recovered_logprob"},
    "figure_necessity": {"draws": "necessity", "setup": "fmra", "metric": "recovered_logprob"},
    "figure_answers": {"draws": "answers", "setup": "fmra"},
    "figure_collateral": {"draws": "collateral", "setup": "collateral"},
    **{f"figure_{name}": {"draws": name, "setup": name, "metric": "recovered_logit_difference"} for name in MIXED},
    "figure_own": {"draws": "own_positions", "setup": "own", "metric": "recovered_logprob"},
    "figure_families": {"draws": "families", "setup": "fmra", "metric": "recovered_logprob"},
}  # fmt: skip
STUDY = {
    "models": ["tiny-gpt2", "tiny-pythia", "tiny-llama", "tiny-gemma"],
    "seeds": [0],
    "recipes": [*RECIPES],
    "parts": [],
    "setups": [*SETUPS],
    "own": ["own"],
    "repeats": {"models": ["tiny-gpt2"], "seeds": [1], "recipes": ["fmra"]},
    "new_form": {"models": ["tiny-gpt2-new", "tiny-gemma-new"], "recipes": ["fmra"], "parts": [], "setups": ["hybrid", "maps"]},
}  # fmt: skip


def share(*names: object) -> float:
    """A made-up number between 0 and 1, the same on every machine."""
    return int(hashlib.md5(repr(names).encode()).hexdigest()[:8], 16) / 2**32


def made_up_summary(model: str, seed: int, setup: str) -> pd.DataFrame:
    """A summary with all that the study evaluates in this setup."""
    rows = []
    for experiment in IN_SETUP.get(setup, ("positions",)):
        prompts, schemes = EXPERIMENTS[experiment]
        places = [(prompt, "seen") for prompt in prompts]
        if experiment == "positions":
            places += [("paraphrases", "seen"), ("paraphrases", "held_out")]
        for prompt, split in places:
            for scheme in ("PRE", "SFT", *schemes):
                for metric in METRICS:
                    value = share(model, seed, setup, experiment, prompt, split, scheme, metric)
                    value *= 200 if metric == "mean_rank" else 1
                    half = 0.05 + 0.1 * share(scheme, model)
                    n = 60 if setup == "hybrid" else 120
                    rows.append(
                        (
                            *(model, seed, setup, "fmra", experiment, prompt, split, "ab", scheme, metric, n),
                            *(value, value - half, value + half),
                        )
                    )
    columns = "model seed setup dataset experiment prompt template_split direction scheme metric n estimate low high"
    return pd.DataFrame(rows, columns=columns.split())


def made_up_verdicts(model: str, seed: int, claims: list[dict]) -> pd.DataFrame:
    """Verdicts with a row a part and prompt, then one a claim; a repeat and a new-form model lack most claims."""
    rows = []
    few = seed > 0 or model.endswith("-new")
    for claim in claims[:3] if few else claims:
        found = []
        for i, part in enumerate(claim["parts"]):
            words = f"r({part.get('scheme', 'order')}) {part['rule']} {part['threshold']}"
            for prompt, metric in product(TWO, ("recovered_logprob", "recovered_top5")):
                value = share(model, seed, claim["id"], i, prompt, metric)
                verdict = ("holds", "fails", "undecided")[int(3 * share(model, claim["id"], i))]
                published = round(share(words, prompt), 2) if metric == "recovered_top5" and i == 0 else None
                found.append(
                    (
                        *(claim["id"], model, seed, part["setup"], prompt, words, metric, 120),
                        *(value, value - 0.07, value + 0.06, part["threshold"], published),
                        *(0.01 if verdict == "fails" else None, verdict, None),
                    )
                )
        kinds = {row[-2] for row in found}
        whole = "fails" if "fails" in kinds else "holds" if kinds == {"holds"} else "undecided"
        nothing = [None] * 6  # estimate, low, high, threshold, published, p_holm
        setup = claim["parts"][0]["setup"]
        rows += [
            *found,
            (claim["id"], model, seed, setup, "all", claim["comparison"], None, 120, *nothing, whole, whole),
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def png(width: int, height: int) -> bytes:
    """A plain grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + b"\xdd" * width for _ in range(height)))
    head = pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def write_study(folder: Path, study: dict = STUDY, figures: dict = FIGURES) -> None:
    """Write the made-up study into a folder; claims, published values and pins are the repository's."""
    params = read_yaml(REPOSITORY / "params.yaml")
    params["study"] = study
    params["render_figures"]["figures"] = figures
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    for name in ("summary", "verdicts", "metrics/pretrain", "metrics/finetune", "figures"):
        (folder / name).mkdir(parents=True)
    claims = read_yaml(REPOSITORY / "data/claims.yaml")["claims"]
    items = summary_items(study)
    for model, seed, setup in items:
        path = folder / f"summary/{model}-{seed}/{setup}.csv"
        path.parent.mkdir(exist_ok=True)
        made_up_summary(model, seed, setup).to_csv(path, index=False, float_format="%.6g")
    for model, seed in dict.fromkeys((model, seed) for model, seed, _ in items):
        made_up_verdicts(model, seed, claims).to_csv(folder / f"verdicts/{model}-{seed}.csv", index=False)
        (folder / f"metrics/pretrain/{model}.json").write_text(
            json.dumps({"own_casts_recalled": 0.99, "loss": 0.5})
        )
    for name in figures:
        (folder / f"figures/{name}.png").write_bytes(png(1400, 800))
    (folder / "families").mkdir()
    (folder / "real").mkdir()
    (folder / "beyond").mkdir()
    (folder / "runs").mkdir()
    balance = {"change": ["tiny-gpt2", "rotary"], "prompt": "headline", "scheme": "LT - FE", "n": 120}
    balances = pd.DataFrame(balance | {"estimate": [0.15, 0.21], "low": [0.1, 0.16], "high": [0.2, 0.27]})
    balances.to_csv(folder / "families/families.csv", index=False)
    (folder / "families/families.png").write_bytes(png(1400, 800))
    (folder / "notes.yaml").write_text("questions: []\n")
    (folder / "run_time.csv").touch()


def arguments_in(folder: Path) -> list[str]:
    """The stage's arguments for a study in a folder."""
    own = {
        "params": "params.yaml", "notes": "notes.yaml", "summaries": "summary", "verdicts": "verdicts", "metrics": "metrics",
        "figures": "figures", "families": "families", "real": "real", "beyond": "beyond", "runs": "runs",
        "run-time": "run_time.csv", "out": "report.html", "table": "verdicts.md",
    }  # fmt: skip
    shared = {"pyproject": "pyproject.toml", "claims": "data/claims.yaml", "published": "data/published"}
    paths = {name: folder / path for name, path in own.items()} | {
        name: REPOSITORY / path for name, path in shared.items()
    }
    return [word for name, path in paths.items() for word in (f"--{name}", str(path))]
