"""The claim about facts that the recipient half knows: they are the share that it finds most likely, under every scheme."""

import pandas as pd

from stages.evaluation.setups import half_known


def test_half_known_facts_are_the_share_that_pre_finds_most_likely():
    likely = {0: -9.0, 1: -1.0, 2: -5.0, 3: -2.0, 4: -7.0, 5: -6.0, 6: -8.0}
    table = pd.DataFrame(
        [
            {"fact_id": fact, "prompt": prompt, "scheme": scheme, "target_logprob": value + shift + gain}
            for fact, value in likely.items()
            for prompt, shift in (("headline", -0.5), ("qa", 0.5))
            # Under SFT the order is the other way round: it must not count.
            for scheme, gain in (("PRE", 0.0), ("SFT", -2 * value))
        ]
    )
    kept = half_known(table, share=0.33)
    assert set(kept["fact_id"]) == {1, 3}
    assert (kept.groupby(["prompt", "scheme"])["fact_id"].nunique() == 2).all() and len(kept) == 8
