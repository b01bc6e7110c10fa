"""Sentences on what the paper did not ask: what can be left out, wrong answers, facts that nobody taught anew."""

import pandas as pd

from stages.plotting.shown import KINDS
from stages.reporting.pathways import joined
from stages.reporting.phrases import compared, listed, setting, spread
from stages.reporting.views import View, look


def left_out(view: View) -> str:
    """Both pathways with a component left to the recipient, in all layers."""
    parts = []
    for place in ("LT", "FE"):
        rows = {
            name: look(view, f"SFT except {name}@{place}[all]", "necessity")
            for name in ("ATTN", "O", "FFN", "O+FFN", "all")
        }
        told = [
            f"{spread(found)} without {name if name != 'all' else 'anything'}" for name, found in rows.items()
        ]
        parts.append(f"at {place} SFT is at {listed(told)}")
    return f"{joined(parts).removesuffix('.')} {setting(rows['all'])}."


def needed_for_enrichment(view: View) -> str:
    ffn, attention = (look(view, f"FE[1/1] except {name}@FE[all]", "necessity") for name in ("FFN", "ATTN"))
    both = look(view, "SFT except O+FFN+UNEMBED@LT[all]", "necessity")
    alone = look(view, "LT^C", "necessity")
    return joined(
        [
            compared("FE by layers only without FFN", ffn, "FE without attention", attention),
            compared("SFT without O, FFN and unembedding at LT", both, "SFT without anything at LT", alone),
        ]
    )


def answers(view: View, scheme: str) -> dict[str, pd.DataFrame]:
    """The shares of the kinds of answers, but the right one, under a scheme."""
    return {
        words: look(view, scheme, "positions", metric=f"answered_{name}")
        for name, (words, _) in KINDS.items()
        if name != "target"
    }


def failed_grafts(view: View) -> str:
    parts, every = [], pd.DataFrame()
    for scheme in ("FE", "LT"):
        every = look(view, scheme, "positions", metric="answered_target")
        told = [f"{words} at {spread(found)}" for words, found in answers(view, scheme).items()]
        parts.append(f"under {scheme} the right answer is at {spread(every)}, {listed(told)}")
    place = setting(every).replace("answered_target", "share of the facts by their most likely token")
    return f"{joined(parts).removesuffix('.')} {place}."


def failed_both(view: View) -> str:
    parts = []
    for words, metric in (
        ("another new co-star", "answered_co_star"),
        ("the base's own answer", "answered_base_answer"),
    ):
        fe, lt = (look(view, scheme, "positions", metric=metric) for scheme in ("FE", "LT"))
        parts.append(f"as for {words}, {compared('LT', lt, 'FE', fe)}")
    return joined(parts)


def known_facts(view: View) -> str:
    parts, found = [], pd.DataFrame()
    for scheme in ("PRE", "SFT", "FE | layers", "LT | layers"):
        found = look(view, scheme, "collateral", metric="mean_logprob")
        parts.append(f"{scheme.replace(' | layers', ' by layers only')} {spread(found)}")
    fe, lt = (look(view, f"{name} | layers", "collateral", metric="mean_logprob") for name in ("FE", "LT"))
    return (
        f"Casts that no new fact is about: {listed(parts)} {setting(found)}; {compared('FE', fe, 'LT', lt)}."
    )


def new_names_there(view: View) -> str:
    parts = []
    for scheme in ("PRE", "FE", "LT", "SFT"):
        found = look(view, scheme, "collateral", metric="mean_watched_mass")
        parts.append(f"{spread(found)} under {scheme}")
    return f"There the first tokens of new co-stars' names, those that begin no known one's, have a probability of {listed(parts)}."
