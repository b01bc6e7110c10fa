"""How far finetuning moved the weights, by component and layer: a column a model, a row a recipe."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.plotting.layout import grid, head_columns, legend

RECIPES = ("fmra", "lora")
LOOKS = {  # colour (Okabe and Ito's, told apart by the colour-blind), marker
    "ATTN": ("#0072B2", "o"), "O": ("#56B4E9", "s"), "FFN-UP": ("#D55E00", "^"), "FFN-DOWN": ("#E69F00", "v"),
    "EMBED": ("#000000", "D"), "UNEMBED": ("#000000", "P"),
}  # fmt: skip


def changes_figure(table: pd.DataFrame) -> Figure:
    """table: columns of commands/changes.py. A model's first seed is drawn; a recipe that it lacks leaves an empty panel.

    The axis is logarithmic, since a tiny model moves fifty times as far as a big one; what does not move at all is not on it.
    """
    models = list(table["model"].unique())
    recipes = [name for name in RECIPES if name in set(table["recipe"])]
    positive = table.loc[(table["relative_norm"] > 0) & table["recipe"].isin(recipes), "relative_norm"]
    limits = min(0.01, positive.min()) / 1.5, max(1.0, positive.max()) * 1.5
    figure, panels = grid(len(recipes), len(models), heights=1.6, margins=1.1)
    for line, recipe in zip(panels, recipes, strict=True):
        of_recipe = table[table["recipe"] == recipe]
        for axes, model in zip(line, models, strict=True):
            rows = of_recipe[of_recipe["model"] == model]
            rows = rows[rows["seed"] == rows["seed"].min()]
            for component, (colour, marker) in LOOKS.items():
                moved = (rows["component"] == component) & (rows["relative_norm"] > 0)
                of_component = rows[moved].sort_values("layer")
                axes.plot(
                    of_component["layer"], of_component["relative_norm"], color=colour, marker=marker, markersize=2.6, linewidth=0.9
                )  # fmt: skip
            axes.set_yscale("log")
            axes.set_ylim(*limits)
            axes.set_yticks([0.01, 0.1, 1], ["1 %", "10 %", "100 %"])
            axes.minorticks_off()
            axes.yaxis.grid(True)
            layers = table.loc[table["model"] == model, "layer"].max()
            axes.set_xlim(-1 - 0.06 * layers, layers + 0.06 * layers)
            axes.set_xticks(range(0, layers, 2 if layers < 10 else 5 if layers < 20 else 10))
            if rows.empty:
                axes.text(
                    0.5,
                    0.5,
                    "not trained",
                    transform=axes.transAxes,
                    ha="center",
                    va="center",
                    color="#555555",
                )
        line[0].set_ylabel(f"{recipe}\n|SFT \N{MINUS SIGN} PRE| / |PRE|")
    for axes in panels[-1]:
        axes.set_xlabel("layer")
    head_columns(panels[0], models)
    entries = [
        Line2D([], [], color=colour, marker=marker, markersize=3.2, linewidth=0.9, label=component)
        for component, (colour, marker) in LOOKS.items()
    ]
    legend(figure, len(models), entries)
    return figure
