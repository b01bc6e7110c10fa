"""Per-fact tables in which every scheme recovers what a test wants, and claims about them."""

import numpy as np
import pandas as pd

from stages.analysis.claims import Claims, Part
from stages.analysis.comparisons import cells_of, interval_of
from stages.analysis.verdicts import judge

BOOTSTRAP = {"resamples": 400, "seed": 3}
FE_LEAST = {"scheme": "FE", "rule": "at_least", "threshold": 0.5}


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


def noisy(mean: float, seed: int, facts: int = 50, spread: float = 0.2) -> np.ndarray:
    """Shares around a mean, never exactly alike."""
    values = np.random.default_rng(seed).normal(0, spread, facts)
    return mean + values - values.mean()


def judged(*parts: dict, tables: dict[str, pd.DataFrame], family: str = "gpt2") -> pd.DataFrame:
    found = judge(claims_of(*parts), tables, family=family, published={}, counterpart=None, **BOOTSTRAP)
    return found.set_index("prompt")


def interval(part: dict, tables: dict[str, pd.DataFrame], metric: str = "recovered_logprob") -> tuple:
    parsed: Part = claims_of(part).claims[0].parts[0]
    return interval_of(parsed, "headline", metric, cells_of(tables), **BOOTSTRAP)
