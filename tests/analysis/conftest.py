"""A small per-fact table of made-up scores, in which every scheme does something else."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from stages.analysis.claims import Claims

POSITIONS = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C")
TITLE = ("PRE", "SFT", "M", "M+LT")
CELLS = (
    *(("positions", prompt, prompt, "seen", POSITIONS) for prompt in ("headline", "qa")),
    *(("positions", "paraphrases", f"{s}_{i}", s, POSITIONS) for s in ("seen", "held_out") for i in (1, 2)),
    ("title", "movie_title", "movie_title", "seen", TITLE),
)
HIT_RATE = {"PRE": 0.05, "SFT": 0.98, "FE": 0.3, "LT": 0.2, "FE+LT": 0.95, "M": 0.1, "M+LT": 0.4}


@pytest.fixture
def make_scores() -> Callable[..., pd.DataFrame]:
    """A function that makes a per-fact table: headline, qa, two paraphrases of each split, movie_title."""

    def make(facts: int = 30, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        tables = []
        for experiment, prompt, template, split, schemes in CELLS:
            for scheme in schemes:
                hit = rng.random(facts) < HIT_RATE.get(scheme, 0.05)
                logprob = np.where(hit, -rng.exponential(0.3, facts), -rng.gamma(8, 0.8, facts))
                columns = {
                    "model": "tiny-gpt2",
                    "seed": 0,
                    "setup": "fmra",
                    "dataset": "fmra",
                    "experiment": experiment,
                    "prompt": prompt,
                    "template": template,
                    "template_split": split,
                    "direction": "ab",
                    "fact_id": [f"fact{i:03}" for i in range(facts)],
                    "scheme": scheme,
                    "draw": 0,
                    "target_rank": np.where(hit, rng.integers(1, 6, facts), rng.integers(6, 300, facts)),
                    "target_logprob": logprob.astype("float32"),
                    "target_logit": (logprob + 9).astype("float32"),
                    "foil_logit": rng.normal(1, 1, facts).astype("float32"),
                    "exact_match": hit,
                    "top1_token": " Ann",
                }
                tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)

    return make


def table_of(
    recovered: dict[str, np.ndarray],
    *,
    setup: str = "fmra",
    dataset: str = "fmra",
    experiment: str = "positions",
    prompts: tuple[str, ...] = ("headline",),
    split: str = "held_out",
    model: str = "tiny-gpt2",
) -> pd.DataFrame:
    """A per-fact table in which a scheme recovers these shares of the log-probability, a number a fact.

    PRE has -10 nats on every fact and SFT 0, unless they are given. A fact that is recovered by more than half
    has rank 1, else 50.
    """
    n = len(next(iter(recovered.values())))
    tables = []
    for scheme, share in ({"PRE": np.zeros(n), "SFT": np.ones(n)} | recovered).items():
        columns = {
            "template": "one",
            "template_split": split,
            "fact_id": range(n),
            "scheme": scheme,
            "draw": 0,
            "target_rank": np.where(share > 0.5, 1, 50),
            "target_logprob": 10 * share - 10,
            "target_logit": 10 * share,
            "foil_logit": 5.0,
        }
        tables += [pd.DataFrame(columns).assign(prompt=prompt) for prompt in prompts]
    identity = {"model": model, "seed": 0, "setup": setup, "dataset": dataset, "experiment": experiment}
    return pd.concat(tables, ignore_index=True).assign(**identity, direction="ab", top1_token=" Ann")


def claims_of(*parts: dict, **more: object) -> Claims:
    """One claim, C1, with these parts, about headline and log-probability unless they say otherwise."""
    defaults = {
        "setup": "fmra",
        "experiment": "positions",
        "prompts": ["headline"],
        "metrics": ["recovered_logprob"],
    }
    claim = {
        "id": "C1",
        "text": "a claim",
        "comparison": "as numbers",
        "parts": [defaults | part for part in parts],
    }
    return Claims.model_validate({"published": {}, "claims": [claim], **more})
