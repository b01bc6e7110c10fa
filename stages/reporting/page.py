"""The page: everything the template shows, as plain data, and the template filled with it."""

import base64
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.plotting.needs import drawn_figures
from stages.reporting.kinds import caption, sentences
from stages.reporting.tables import COMPONENTS, POSITION_SCHEMES, RANGES, scheme_table
from weightgraft.errors import UserError

TEMPLATE = Path(__file__).with_name("report.html.j2")
PROMPTS = ("headline", "qa", "movie_title", "long")
PNG = b"\x89PNG\r\n\x1a\n"
# Figures are drawn at 200 dots an inch with no type under 7 points: at this many CSS pixels a dot, 7 points are 12 pixels.
PIXELS_A_DOT = 12 * 72 / (7 * 200)


def picture(path: Path) -> dict[str, Any]:
    """A PNG inside the page: {uri, width, height}, in CSS pixels.

    Raises:
        UserError: the file is missing or no PNG.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: run render_figures first")
    data = path.read_bytes()
    if not data.startswith(PNG):
        raise UserError(f"{path} is no PNG")
    width, height = (round(size * PIXELS_A_DOT) for size in struct.unpack(">II", data[16:24]))
    return {
        "uri": f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "width": width,
        "height": height,
    }


def figures_of(params: Mapping[str, Any], summaries: pd.DataFrame, folder: Path) -> list[dict[str, Any]]:
    """The study's figures in the order of params.yaml: {name, caption, sentences, alt, uri, width, height}."""
    study, section = params["study"], params["render_figures"]["figures"]
    figures = []
    for name in drawn_figures(section, study):
        figure = section[name]
        words = caption(figure)
        said = sentences(figure, summaries, study)
        alt = " ".join([words, *said[:1]])
        shown = picture(folder / f"{name}.png")
        figures.append(
            {"name": name, "draws": figure["draws"], "caption": words, "sentences": said, "alt": alt, **shown}
        )
    return figures


def families_figure(folder: Path) -> dict[str, Any] | None:
    """The figure of `make families` (stages/commands/families.py) with its balances in words; None if it was not run."""
    if not (folder / "families.csv").is_file():
        return None
    table = pd.read_csv(folder / "families.csv")
    prompt = table["prompt"].iloc[0]
    table = table[(table["prompt"] == prompt) & table["scheme"].str.startswith("LT - FE")]
    words = (
        "Why do families differ? From tiny-gpt2 to tiny-llama in small steps: what each pathway recovers of the "
        "log-probability, and recall less enrichment, LT - FE, paired by fact: as grafted, where only LT reads the answer with "
        "SFT's unembedding, with PRE's for both, and by layers only."
    )
    said = []
    for scheme, rows in table.groupby("scheme", sort=False):
        balances = "; ".join(
            f"{row.change} {row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}]" for row in rows.itertuples()
        )
        said.append(f"{scheme} on {prompt} (n = {rows['n'].iloc[0]}), in this order: {balances}.")
    said.append(
        "Why families differ is not shown: with one pretraining and one finetuning seed each, a step of the size that seeds make "
        "is no effect of its ingredient."
    )
    shown = picture(folder / "families.png")
    return {"name": "families", "caption": words, "sentences": said, "alt": f"{words} {said[0]}", **shown}


def number_tables(
    params: Mapping[str, Any], summaries: pd.DataFrame, published: Mapping[str, pd.DataFrame]
) -> list[dict[str, Any]]:
    """The paper's two tables, measured here: {title, schemes, rows, groups: rows by prompt}; none of what was not measured."""
    counterparts = params["render_figures"]["counterparts"]
    tables: list[dict[str, Any]] = [
        {
            "title": "Position grafting: top-5 accuracy on FMRA",
            "schemes": POSITION_SCHEMES,
            "rows": scheme_table(
                summaries, published["position_grafting"], counterparts, setup="fmra", experiment="positions",
                prompts=PROMPTS, schemes={scheme: scheme for scheme in POSITION_SCHEMES},
            ),
        }
    ]  # fmt: skip
    for layers, words in RANGES.items():
        # The paper grafts the second half of the layers: its values stand beside no other range.
        known = (
            published["component_grafting"]
            if layers == "second_half"
            else published["component_grafting"].head(0)
        )
        tables.append(
            {
                "title": f"Component grafting at the last token, {words}: top-5 accuracy on FMRA",
                "schemes": COMPONENTS,
                "rows": scheme_table(
                    summaries, known, counterparts, setup="reversal", experiment="components",
                    prompts=("headline", "qa"), schemes={name: f"{name}@LT[{layers}]" for name in COMPONENTS},
                ),
            }
        )  # fmt: skip
    for table in tables:
        prompts = dict.fromkeys(row["prompt"] for row in table["rows"])
        table["groups"] = [
            {"prompt": prompt, "lines": [row for row in table["rows"] if row["prompt"] == prompt]}
            for prompt in prompts
        ]
    return [table for table in tables if table["rows"]]


def in_brief(table: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """(words, claims): the claims with one verdict in all models that have one, and those on which models differ."""
    groups: dict[str, list[str]] = {}
    words = {
        "holds": "holds in every model",
        "fails": "fails in every model",
        "undecided": "undecided in every model",
        "not shown": "not shown in every model",
    }
    for row in table["rows"]:
        found = {cell["verdict"] for cell in row["cells"].values()}
        key = "no verdict" if not found else "models differ" if len(found) > 1 else words[found.pop()]
        groups.setdefault(key, []).append(row["claim"])
    order = [*words.values(), "models differ", "no verdict"]
    return [(key, groups[key]) for key in order if key in groups]


def training_table(training: pd.DataFrame) -> list[dict[str, Any]]:
    """How well the models learnt: {kind, item, numbers: [(name, value)]}."""
    return [
        {
            "kind": kind,
            "item": item,
            "numbers": [
                (row["name"].replace("_", " "), f"{row['value']:.3f}") for _, row in found.iterrows()
            ],
        }
        for (kind, item), found in training.groupby(["kind", "item"], sort=False)
    ]


def render(content: Mapping[str, Any]) -> str:
    """Fill the template; everything in it is escaped, and a name that it lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    return environment.get_template(TEMPLATE.name).render(content)


def split_figures(figures: Sequence[dict[str, Any]]) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The picture of the method, and all other figures."""
    method = next((figure for figure in figures if figure["draws"] == "schematic"), None)
    return method, [figure for figure in figures if figure is not method]
