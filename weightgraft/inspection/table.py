"""The table that is printed."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from weightgraft.inspection.document import NOT_FINITE


def table_lines(found: dict[str, Any]) -> list[str]:
    """What was asked, of which models, and a line a scheme."""
    target = found["target_tokens"]
    first = repr(target[0]["text"])
    counted = "1 token" if len(target) == 1 else f"{len(target)} tokens, the first {first}"
    donors = [f"{name} = {folder}" for name, folder in found["donors"].items()]
    sets = [_positions(name, members, found["tokens"]) for name, members in found["positions"].items()]
    lines = [
        f"prompt     {found['prompt']}",
        f"target     {found['target']!r} ({counted})"
        + (f", foil {found['foil']!r}" if found["foil"] else ""),
        f"recipient  {found['recipient']} (PRE)",
        f"donors     {donors[0]} (SFT)" + "".join(f"; {donor}" for donor in donors[1:]),
        f"positions  {'; '.join(sets)}",
        *_explained(len(target), bool(found["foil"])),
    ]
    lines += [f"note       {note}" for note in found["notes"]]
    if found["warning"]:
        lines.append(f"warning    {found['warning']}")
    return [*lines, "", *aligned(_cells(found))]


def _explained(n_target: int, foil: bool) -> list[str]:
    """What the columns are."""
    of = "the target" if n_target == 1 else "the target's first token"
    joint = (
        ""
        if n_target == 1
        else f", all {n_target} tokens together (later ones served as the last prompt token)"
    )
    return [
        f"rank       of {of} (1 = best)",
        f"log-prob   of the target{joint}, natural logarithm",
        "recovered  (log-prob - PRE) / (SFT - PRE)",
        *([f"- foil     logit of {of} less the foil's"] if foil else []),
    ]


def _positions(name: str, members: Sequence[int], tokens: Sequence[dict[str, Any]]) -> str:
    """`FE: tokens 0-2, 'Ann Lee'`."""
    runs: list[list[int]] = [[members[0]]]
    for before, member in pairwise(members):
        if member != before + 1:
            runs.append([])
        runs[-1].append(member)
    numbers = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    text = " ... ".join("".join(tokens[member]["text"] for member in run) for run in runs)
    return f"{name}: token{'s' if len(members) > 1 else ''} {numbers}, {text!r}"


def _cells(found: dict[str, Any]) -> list[list[str]]:
    foil = bool(found["foil"])
    rows = [["scheme", "rank", "log-prob", "recovered", *(["- foil"] if foil else []), "most likely next"]]
    for row in found["schemes"]:
        best = ", ".join(f"{entry['text']!r} {entry['probability']:.3f}" for entry in row["top"])
        values = [row["recovered"], *([row["logit_difference"]] if foil else [])]
        known = row["joint_logprob"] is not None
        rows.append(
            [
                row["scheme"],
                str(row["target_rank"]) if known else "n/a",
                f"{row['joint_logprob']:.3f}" if known else NOT_FINITE,
                *("n/a" if value is None else f"{value:.3f}" for value in values),
                best,
            ]
        )
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns: the first and the last to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]))
    return lines
