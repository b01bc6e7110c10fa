"""Sentences on components, layers and mechanisms: E3, E4, E5, E7, the maps and the new form of the question."""

import re
from typing import Any

import numpy as np
import pandas as pd

from stages.plotting.needs import NEW_FORM
from stages.reporting.pathways import joined
from stages.reporting.phrases import (
    NotMeasuredError,
    compared,
    estimate,
    labels,
    listed,
    relations,
    setting,
    spread,
)
from stages.reporting.views import View, Writer, look

HALF = "@LT[second_half]"
SIGNIFICANT = 0.05
UNEMBEDDING_SCHEMES = ("FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")


def components_at_last_token(view: View) -> str:
    rows = {name: look(view, name + HALF, "components") for name in ("ATTN+O+FFN", "O+FFN", "FFN", "O")}
    parts = [f"{name} is at {spread(found)}" for name, found in rows.items()]
    return f"Grafted at LT in the second half of the layers, {listed(parts)} {setting(rows['O+FFN'])}."


def components_against_each_other(view: View) -> str:
    whole, with_o, without, control = (
        look(view, name + HALF, "components") for name in ("ATTN+O+FFN", "O+FFN", "FFN", "O+FFN_random")
    )
    return joined(
        [
            compared("O+FFN", with_o, "FFN", without),
            compared("ATTN+O+FFN", whole, "O+FFN", with_o),
            compared("O+FFN", with_o, "random components of the same size", control, "them"),
        ]
    )


def hybrid_levels(*schemes: str) -> Writer:
    """Where the schemes of the hybrid stand."""

    def write(view: View) -> str:
        rows = {name: look(view, name, "hybrid") for name in schemes}
        parts = [f"{name} is at {spread(found)}" for name, found in rows.items()]
        return f"{listed(parts)} {setting(rows[schemes[0]])}."

    return write


def hybrid_against(*schemes: str, base: str = "NO FE") -> Writer:
    """Each of the schemes of the hybrid against the one without a graft at FE."""

    def write(view: View) -> str:
        without = look(view, base, "hybrid")
        return joined([compared(name, look(view, name, "hybrid"), base, without) for name in schemes])

    return write


def unembeddings(view: View) -> str:
    pre, sft = (look(view, f"FE+LT | {model} unembed", "unembedding") for model in ("PRE", "SFT"))
    return f"FE+LT is at {spread(pre)} with PRE's unembedding and at {spread(sft)} with SFT's {setting(pre)}."


def unembedding_pairs(view: View) -> str:
    overlapping, total = 0, 0
    for scheme in UNEMBEDDING_SCHEMES:
        pre, sft = (look(view, f"{scheme} | {model} unembed", "unembedding") for model in ("PRE", "SFT"))
        found = relations(pre, sft)
        overlapping += len(found["overlapping"])
        total += sum(len(names) for names in found.values())
    return (
        f"Of {total} pairs, the same scheme in the same model under the two unembeddings, the intervals of {overlapping} "
        f"overlap."
    )


def with_and_without_tables(view: View) -> str:
    parts = []
    for scheme in ("FE+LT", "FE", "LT"):
        whole, layers = (look(view, name, "layers_only") for name in (scheme, f"{scheme} | layers"))
        parts.append(f"{scheme} is at {spread(layers)} by layers only and at {spread(whole)} with the tables")
    everywhere = look(view, "all | layers", "layers_only")
    return (
        f"{'; '.join(parts)}; the layers of all positions are at {spread(everywhere)} {setting(everywhere)}."
    )


def tables_alone(view: View) -> str:
    rows = {name: look(view, name, "layers_only") for name in ("EMBED@FE", "UNEMBED@LT")}
    fe, lt = (look(view, f"{name} | layers", "layers_only") for name in ("FE", "LT"))
    return joined(
        [f"alone, {name} is at {spread(found)}" for name, found in rows.items()]
        + [f"by layers only, {compared('LT', lt, 'FE', fe)}"]
    )


def late_patch(view: View, positions: str) -> tuple[int, pd.DataFrame]:
    """The last patched block but one: after the final block the residual stream at LT is all but the answer itself."""
    schemes = look(view, None, "patching")["scheme"]
    found = [re.fullmatch(rf"patch {positions}\[(\d+)\]", scheme) for scheme in schemes]
    layers = sorted({int(match[1]) for match in found if match})
    if len(layers) < 2:
        raise NotMeasuredError
    return layers[-2], look(view, f"patch {positions}[{layers[-2]}]", "patching")


def patching_late(view: View) -> str:
    layer, patched = late_patch(view, "LT")
    grafted = look(view, "LT", "patching")
    return (
        f"Patching the residual stream at LT after block {layer} (counted from 0: the last but one) gives {spread(patched)}, "
        f"grafting the weights at LT {spread(grafted)} {setting(patched)}."
    )


def patching_against_grafting(view: View) -> str:
    parts = []
    for place in ("LT", "FE"):
        layer, patched = late_patch(view, place)
        grafted = look(view, place, "patching")
        parts.append(compared(f"patching {place} after block {layer}", patched, f"grafting {place}", grafted))
    return joined(parts)


def largest_cells(experiment: str, pattern: str, cell: str, place: str) -> Writer:
    """The largest cell of a map in each model, and how many it is the largest of.

    pattern: of the schemes that are its cells; cell: words for one, with the pattern's groups by name.
    """

    def write(view: View) -> str:
        rows = look(view, None, experiment)
        rows = rows[rows["scheme"].str.fullmatch(pattern) & np.isfinite(rows["estimate"])]
        if rows.empty:
            raise NotMeasuredError
        parts, sizes = [], set()
        for _, cells in rows.groupby(["model", "seed"], sort=False):
            most = cells.loc[cells["estimate"].idxmax()]
            match = re.fullmatch(pattern, most["scheme"])
            assert match  # the rows were chosen by it
            value = estimate(most["estimate"], most["low"], most["high"], most["metric"])
            parts.append(f"{cell.format(**match.groupdict())} in {labels(cells)[0]}, {value}")
            sizes.add(len(cells))
        many = " to ".join(str(size) for size in sorted({min(sizes), max(sizes)}))
        said = f"{place} the largest of {many} single cells is {'; '.join(parts)} {setting(rows)}"
        if "p_holm" not in rows or rows["p_holm"].isna().any():
            return f"{said}."
        different = int((rows["p_holm"] <= SIGNIFICANT).sum())
        over = "over all models " if rows["model"].nunique() > 1 else ""
        return f"{said}; {over}{different} of {len(rows)} differ from PRE (Holm's p at most {SIGNIFICANT})."

    return write


def known_and_new(
    view: View, scheme: str, experiment: str, **where: Any
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the models that know the form of the question, and of those that do not, under the same names."""
    models = [model for model in dict.fromkeys(view.summaries["model"]) if model.endswith(NEW_FORM)]
    if not models:
        raise NotMeasuredError
    new = look(view, scheme, experiment, **where, models=models)
    known = look(view, scheme, experiment, **where, models=[model.removesuffix(NEW_FORM) for model in models])
    return known, new.assign(model=new["model"].str.removesuffix(NEW_FORM))


def new_form_levels(view: View) -> str:
    parts = []
    for scheme in ("FE+LT", "(FE+LT)^C"):
        known, new = known_and_new(view, scheme, "positions", prompt="qa")
        parts.append(
            f"{scheme} is at {spread(new)} where the form is new and at {spread(known)} where it is known"
        )
    return f"{'; '.join(parts)} {setting(new)}."


def new_form_against_known(view: View) -> str:
    parts = []
    for scheme in ("FE+LT", "(FE+LT)^C"):
        known, new = known_and_new(view, scheme, "positions", prompt="qa")
        parts.append(compared(f"{scheme} in the new form", new, f"{scheme} in the known one", known))
    return joined(parts)
