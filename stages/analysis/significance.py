"""Many schemes against PRE: paired tests over facts, with Holm's correction."""

import numpy as np
from jaxtyping import Float
from scipy.stats import ttest_1samp

TESTED = "recovered_logprob"  # its numerator is the tested difference
# In nats. The engine agrees with a run of its own to 1e-5: a smaller difference on a fact is rounding, and rounding
# that has one sign on all facts would otherwise be "significant".
SAME = 1e-5

Schemes = Float[np.ndarray, "schemes"]


def differs_from_pre(
    logprob: Float[np.ndarray, "schemes facts"], schemes: list[str]
) -> tuple[Schemes, Schemes]:
    """p and Holm's p of every scheme: does its mean log-probability differ from PRE's, over the same facts?

    Two-sided paired t-test. The schemes of one table are one family of tests; PRE and SFT, which are no
    cells of a map, are not tested (NaN).
    """
    differences = logprob - logprob[schemes.index("PRE")]
    differences = np.where(np.abs(differences) < SAME, 0.0, differences)
    p = np.full(len(schemes), np.nan)
    tested = ~np.isin(schemes, ["PRE", "SFT"])
    p[tested] = paired_p(differences[tested])
    holm = np.full(len(schemes), np.nan)
    holm[tested] = holm_corrected(p[tested])
    return p, holm


def paired_p(differences: Float[np.ndarray, "schemes facts"]) -> Schemes:
    """Two-sided p of the paired t-test, a row a scheme: 1 where no fact differs, 0 where all differ alike."""
    p = np.where(np.abs(differences).max(axis=1, initial=0) == 0, 1.0, 0.0)
    varies = np.ptp(differences, axis=1) > SAME
    if varies.any():
        p[varies] = ttest_1samp(differences[varies], 0, axis=1).pvalue
    return p


def holm_corrected(p: Schemes) -> Schemes:
    """Holm's step-down correction (1979): p_holm <= .05 in any entry is wrong with probability .05 at most.

    The smallest of m p-values is multiplied by m, the next by m - 1, ...; never below the one before, at
    most 1. (scipy has corrections for the false discovery rate only.)
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected
