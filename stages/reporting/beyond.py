"""Sentences on what the paper did not ask: what can be left out, wrong answers, facts that nobody taught anew."""

import pandas as pd

from stages.plotting.shown import KINDS
from stages.reporting.pathways import joined
from stages.reporting.phrases import compared, listed, place, setting, spread
from stages.reporting.views import View, look


def left_out(view: View) -> str:
    """Both pathways with a component left to the recipient, in all layers."""
    parts = []
    for at in ("LT", "FE"):
        rows = {
            name: look(view, f"SFT except {name}@{at}[all]", "necessity")
            for name in ("ATTN", "O", "FFN", "O+FFN", "all")
        }
        told = [
            f"{spread(found)} without {name if name != 'all' else 'anything'}" for name, found in rows.items()
        ]
        parts.append(f"at {at} SFT is at {listed(told)}")
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


def answered(view: View, *kinds: str) -> str:
    """The shares of some kinds of answers under FE and under LT."""
    parts, rows = [], pd.DataFrame()
    for scheme in ("FE", "LT"):
        told = []
        for kind in kinds:
            rows = look(view, scheme, "positions", metric=f"answered_{kind}")
            told.append(f"{KINDS[kind][0]} is at {spread(rows)}")
        parts.append(f"under {scheme} {listed(told)}")
    return f"{joined(parts).removesuffix('.')} (share of the facts, by first tokens; {place(rows)})."


def failed_grafts(view: View) -> str:
    return answered(view, "target", "base_answer", "co_star")


def other_failures(view: View) -> str:
    return answered(view, "own_name", "name", "other")


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
