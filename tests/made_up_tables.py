"""A small per-fact table of made-up scores, in which every scheme does something else."""

import numpy as np
import pandas as pd

POSITIONS = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C")
TITLE = ("PRE", "SFT", "M", "M+LT")
CELLS = (
    *(("positions", prompt, prompt, "seen", POSITIONS) for prompt in ("headline", "qa")),
    *(("positions", "paraphrases", f"{s}_{i}", s, POSITIONS) for s in ("seen", "held_out") for i in (1, 2)),
    ("title", "movie_title", "movie_title", "seen", TITLE),
)
HIT_RATE = {"PRE": 0.05, "SFT": 0.98, "FE": 0.3, "LT": 0.2, "FE+LT": 0.95, "M": 0.1, "M+LT": 0.4}


def random_scores(facts: int = 30, seed: int = 0) -> pd.DataFrame:
    """A per-fact table: headline, qa, two paraphrases of each split, movie_title."""
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
