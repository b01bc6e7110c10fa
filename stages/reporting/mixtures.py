"""Sentences on donors between PRE and SFT, on static masks, and on attention that is cut."""

from stages.plotting.shown import STRENGTHS
from stages.reporting.pathways import joined
from stages.reporting.phrases import compared, listed, setting, spread
from stages.reporting.views import View, look


def growth(view: View) -> str:
    rows = {strength: look(view, f"FE+LT | {strength}", "strength") for strength in STRENGTHS}
    parts = [f"{spread(found)} at {strength}" for strength, found in rows.items()]
    return f"With donors between PRE (strength 0) and SFT (1), and beyond, FE+LT is at {listed(parts)} {setting(rows['1'])}."


def both_against_all_positions(view: View) -> str:
    parts = []
    for strength in STRENGTHS:
        both, everywhere = (look(view, f"{name} | {strength}", "strength") for name in ("FE+LT", "all"))
        parts.append(f"at strength {strength} {compared('FE+LT', both, 'all positions', everywhere)}")
    return joined(parts)


def masks(view: View) -> str:
    rows = {name: look(view, f"{name} | static", "static") for name in ("FE", "LT", "FE+LT")}
    parts = [f"{spread(found)} with as many parameters x tokens as {name}" for name, found in rows.items()]
    return f"The largest changes of SFT, grafted at all tokens, are at {listed(parts)} {setting(rows['FE'])}."


def masks_against_positions(view: View) -> str:
    parts = []
    for name in ("FE", "LT", "FE+LT"):
        there, static = (look(view, scheme, "static") for scheme in (name, f"{name} | static"))
        parts.append(compared(name, there, "the static mask of its size", static))
    return joined(parts)


def name_not_seen(view: View) -> str:
    rows = {name: look(view, f"{name} | cut all", "knock_out") for name in ("FE", "FE+LT", "SFT")}
    rows["PRE"] = look(view, "cut LT<-FE", "knock_out")
    parts = [f"{name} is at {spread(found)}" for name, found in rows.items()]
    return f"Where LT sees FE's keys and values in no layer, {listed(parts)} {setting(rows['FE'])}."


def name_not_seen_in_windows(view: View) -> str:
    uncut = look(view, "FE | cut none", "knock_out")
    thirds = {"lowest": "1/3", "middle": "2/3", "highest": "3/3"}
    return joined(
        [
            compared(
                f"FE with the {name} third of the layers cut",
                look(view, f"FE | cut {part}", "knock_out"),
                "FE uncut",
                uncut,
            )
            for name, part in thirds.items()
        ]
    )
