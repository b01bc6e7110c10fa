"""make families: why do families differ? From tiny-gpt2 to tiny-llama in small steps, same facts, same seeds.

In a throw-away copy of the repository (quick.py), which shares the cache; the results go to results/families.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.analysis.summary import paired_difference, summarize
from stages.analysis.tables import write_csv
from stages.commands.quick import NOTHING_MORE, make_copy, repro
from stages.plotting.layout import reference_entry
from stages.plotting.style import bar_look, figure_width, save_figure
from stages.study.params import load_section
from weightgraft.errors import run_main
from weightgraft.style import RC, SFT_LINE

RECIPE = "fmra"
PROMPTS = ("headline", "qa")
SCHEMES = ("FE", "LT", "FE+LT", "(FE+LT)^C")
BALANCE = "LT - FE"
# Balance -> its experiment and the two schemes: as grafted, where only LT reads the answer with SFT's unembedding; with one
# unembedding for both; and by layers only.
BALANCES = {
    BALANCE: ("positions", "LT", "FE"),
    f"{BALANCE}, PRE's unembedding": ("unembedding", "LT | PRE unembed", "FE | PRE unembed"),
    f"{BALANCE}, layers only": ("layers_only", "LT | layers", "FE | layers"),
}
BALANCE_MARKERS = "Dos"


def balances(folder: Path, models: Mapping[str, str], bootstrap: Mapping[str, int]) -> pd.DataFrame:
    """What each pathway recovers in each model, and the three balances of recall and enrichment, r(LT) - r(FE), paired by fact.

    Columns: model, change (what is new in it), prompt, scheme, n, estimate, low, high (recovered log-probability).
    """
    tables = []
    for model, change in models.items():
        scores = pd.read_parquet(folder / f"{model}-0" / f"{RECIPE}.parquet")
        scores = scores[scores["prompt"].isin(PROMPTS)]
        positions = scores[scores["experiment"] == "positions"]
        summary = summarize(positions, resamples=bootstrap["resamples"], seed=bootstrap["seed"])
        recovered = summary[summary["scheme"].isin(SCHEMES) & (summary["metric"] == "recovered_logprob")]
        found = [recovered]
        for balance, (experiment, recall, enrichment) in BALANCES.items():
            asked = scores[scores["experiment"] == experiment]
            found.append(
                paired_difference(asked, recall, enrichment, "recovered_logprob", **bootstrap).assign(
                    scheme=balance
                )
            )
        tables.append(pd.concat(found).assign(model=model, change=change))
    columns = ["model", "change", "prompt", "scheme", "n", "estimate", "low", "high"]
    return pd.concat(tables, ignore_index=True)[columns]


def families_figure(table: pd.DataFrame, colours: Mapping[str, str]) -> Figure:
    """A row a model, from tiny-gpt2 to tiny-llama; what each pathway recovers, and right of it the balances of the two."""
    changes = list(table["change"].unique())
    figure = Figure(figsize=(figure_width(4), 1.4 + 0.34 * len(changes) * len(PROMPTS)), layout="constrained")
    panels = figure.subplots(len(PROMPTS), 2, sharex="col", sharey=True, width_ratios=[3, 2])
    entries = []
    for line, prompt in zip(panels, PROMPTS, strict=True):
        rows = table[table["prompt"] == prompt].set_index(["change", "scheme"])
        for place, change in enumerate(changes):
            for order, scheme in enumerate((*SCHEMES, *BALANCES)):
                row = rows.loc[(change, scheme)]
                axes = line[1] if scheme in BALANCES else line[0]
                at = place + (order - len(SCHEMES) - 1 if scheme in BALANCES else order - 1.5) * 0.14
                colour = "#333333" if scheme in BALANCES else bar_look(scheme, dict(colours))["edgecolor"]
                marker = ("os^v" + BALANCE_MARKERS)[order]
                axes.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=1.2)
                axes.plot(row["estimate"], at, color=colour, marker=marker, markersize=4, linestyle="none")
                if not place and prompt == PROMPTS[0]:
                    entries.append(Line2D([], [], color=colour, marker=marker, markersize=4, label=scheme))
        line[0].set_yticks(range(len(changes)), changes)
        line[0].set_ylabel(f"{prompt} (n = {int(rows['n'].iloc[0])})")
        for axes in line:
            axes.axvline(0, color="#888888", linewidth=0.8, zorder=0)
        line[0].axvline(1, **SFT_LINE)
    panels[0][0].invert_yaxis()  # of all panels, which share it: from tiny-gpt2 down to tiny-llama
    panels[-1][0].set_xlabel("recovered fraction\n(log-probability)")
    panels[-1][1].set_xlabel("LT \N{MINUS SIGN} FE\n(right: more recall)")
    interval = Line2D([], [], color="black", marker="_", markersize=8, linestyle="none")
    interval.set_label("95 % interval over facts")
    entries += [*reference_entry("recovered_logprob"), interval]
    figure.legend(handles=entries, loc="outside lower center", ncols=len(SCHEMES))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copy", type=Path, default=Path(".families"))
    parser.add_argument("--out", type=Path, default=Path("results/families"))
    args = parser.parse_args()
    models = load_section("families")
    source, copy = Path.cwd(), args.copy.resolve()
    changes = NOTHING_MORE | {"study.models": [*models], "study.recipes": [RECIPE]}
    make_copy(source, copy, changes, cache=source / ".dvc/cache")
    repro(copy, "graft")
    bootstrap = {key: load_section("summarize")[key] for key in ("resamples", "seed")}
    table = balances(copy / "runs/graft", models, bootstrap)
    write_csv(table, args.out / "families.csv")
    with matplotlib.rc_context(RC):
        save_figure(families_figure(table, load_section("render_figures.colours")), args.out / "families")
    ends = table[(table["scheme"] == BALANCE) & (table["prompt"] == PROMPTS[0])]["estimate"]
    print(
        f"families: {args.out}: {len(models)} models; LT - FE on {PROMPTS[0]} goes from {ends.iloc[0]:.2f} to {ends.iloc[-1]:.2f}"
    )


if __name__ == "__main__":
    run_main(main)
