"""The page: everything the template shows, as plain data, and the template filled with it."""

import base64
import hashlib
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from stages.plotting.needs import drawn_figures
from stages.plotting.results import real_setups
from stages.reporting.kinds import caption, sentences
from stages.reporting.matrix import PAPERS
from stages.reporting.tables import COMPONENTS, POSITION_SCHEMES, RANGES, scheme_table
from weightgraft.errors import UserError

TEMPLATE = Path(__file__).with_name("report.html.j2")
STYLE, SCRIPT = (TEMPLATE.with_name(f"report.{kind}") for kind in ("css", "js"))
LEADING = "figure2"  # the figure that stands beside the findings
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


def title_of(name: str) -> str:
    """Figure 2 (log-probability); Figure "layers only"."""
    name = name.removeprefix("figure")
    rest = name.lstrip("0123456789")
    numeral = name.removesuffix(rest)
    rest = rest.replace("_", " ").strip().replace("logprob", "log-probability")
    return f"Figure {numeral}{f' ({rest})' * bool(rest)}" if numeral else f'Figure "{rest}"'


def figures_of(
    params: Mapping[str, Any], summaries: pd.DataFrame, real: Sequence[pd.DataFrame], folder: Path
) -> list[dict[str, Any]]:
    """The study's figures in the order of params.yaml: {name, title, caption, sentences, alt, uri, width, height}.

    summaries: of the study's own models; real: of the really pretrained ones, which some pages are of.
    """
    study, section = params["study"], params["render_figures"]["figures"]
    of_real = pd.concat([*real], ignore_index=True) if real else summaries.iloc[:0]
    figures = []
    for name in drawn_figures(section, study, real_setups(of_real, params.get("real", {}))):
        figure = section[name]
        words = caption(figure)
        if model := figure.get("model"):
            said = sentences(figure, of_real, study | {"models": [model]})
        else:
            said = sentences(figure, summaries, study)
        alt = " ".join([words, *said[:1]])
        shown = picture(folder / f"{name}.png")
        figures.append(
            {"name": name, "title": title_of(name), "draws": figure["draws"]}
            | {"caption": words, "sentences": said, "alt": alt, **shown}
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
    return {
        "name": "families",
        "title": 'Figure "families in small steps"',
        "caption": words,
        "sentences": said,
        "alt": f"{words} {said[0]}",
        **shown,
    }


def maps_of(folder: Path, models: Sequence[str]) -> list[dict[str, Any]]:
    """The map of one fact in each really pretrained model that has one: MODEL_map.png in the folder of `make real`."""
    words = (
        "SFT's weights run at one token of the question in one layer, PRE's everywhere else; in blue, and in per cent, how much of "
        "the answer's log-probability comes back. The bars above graft all layers of a token, the bars at the right one layer "
        "at all tokens."
    )
    return [
        {"name": f"{model}_map", "title": f"One fact in {model}", "caption": words, "sentences": []}
        | {"alt": f"A map of tokens by layers in {model}. {words}", **picture(path)}
        for model in models
        if (path := folder / f"{model}_map.png").is_file()
    ]


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


def in_brief(table: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """(words, [(claim, its text)]): the paper's claims with one verdict in all models, and those on which models differ."""
    groups: dict[str, list[tuple[str, str]]] = {}
    words = {
        "holds": "hold in every model in which they were judged",
        "fails": "fail in every model in which they were judged",
        "undecided": "are undecided in every model in which they were judged",
        "not shown": "are not shown in any model in which they were judged",
    }
    differ = "come out differently in different models"
    for row in table["rows"]:
        found = {cell["verdict"] for cell in row["cells"].values()}
        if row["claim"][0] == PAPERS and found:
            key = differ if len(found) > 1 else words[found.pop()]
            groups.setdefault(key, []).append((row["claim"], row["text"]))
    return [(key, groups[key]) for key in (*words.values(), differ) if key in groups]


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


def linked(text: str, claims: Collection[str]) -> Markup:
    """Text as markup, with every claim that it names a link to the claim's row."""
    return Markup(
        re.sub(
            r"\b[A-Z]\d+\b",
            lambda name: f'<a href="#{name[0]}">{name[0]}</a>' if name[0] in claims else name[0],
            str(escape(text)),
        )
    )


def render(content: Mapping[str, Any]) -> str:
    """Fill the template; everything in it is escaped, and a name that it lacks is an error.

    The page may load nothing, and runs no script but ours, whose hash its own policy names.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    claims = {row["claim"] for row in content["table"]["rows"]}
    environment.filters["linked"] = lambda text: linked(text, claims)
    style, script = (path.read_text(encoding="utf-8") for path in (STYLE, SCRIPT))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(TEMPLATE.name).render(
        {**content, "style": Markup(style), "script": Markup(script), "script_hash": f"sha256-{digest}"}
    )


def split_figures(
    figures: Sequence[dict[str, Any]],
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[dict[str, Any]]]:
    """The picture of the method, the figure that stands beside the findings, and all other figures."""
    method = next((figure for figure in figures if figure["draws"] == "schematic"), None)
    first = [figure for figure in figures if figure["name"] == LEADING]
    return method, first, [figure for figure in figures if figure is not method and figure not in first]
