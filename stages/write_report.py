"""Stage write_report: summaries, verdicts and figures in; one self-contained page and the verdict table out."""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from stages.analysis.claims import read_claims, side_by_side
from stages.frame.timing import run_stage
from stages.plotting.processes import uncollected, workers
from stages.plotting.results import read_published, read_real, read_summaries
from stages.reporting.leading import answer, at_a_glance, tiny_models
from stages.reporting.matrix import matrix, numbers
from stages.reporting.page import (
    families_figure,
    figures_of,
    in_brief,
    maps_of,
    number_tables,
    picture,
    render,
    split_figures,
    training_table,
)
from stages.reporting.phrases import listed
from stages.reporting.replication import (
    coverage_rows,
    in_runs,
    leading,
    leading_labels,
    many_runs,
    named,
    read_runs,
    run_counts,
    runs_figure,
    standing_sentences,
)
from stages.reporting.runs import beyond_figures
from stages.reporting.sources import (
    hashes,
    read_notes,
    read_pins,
    read_real_verdicts,
    read_run_time,
    read_sections,
    read_training,
    read_verdicts,
    read_version,
)
from stages.reporting.tables import counts, of_labels, verdict_table, verdict_tables
from stages.reporting.words import Found, told_of, words
from stages.study.items import summary_items
from stages.study.params import read_yaml


def content_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that the page shows, as plain data.

    Raises:
        UserError: an input is missing or not what it should be.
    """
    params = read_yaml(arguments.params)
    study = params["study"]
    claims = {claim.id: claim for claim in side_by_side(read_claims(arguments.claims).claims)}
    notes = read_notes(arguments.notes, claims)
    items = summary_items(study)
    summaries = read_summaries(arguments.summaries, items)
    pairs = list(dict.fromkeys((model, seed) for model, seed, _ in items))
    needed = [(model, seed) for model in study["models"] for seed in study["seeds"]]
    verdicts = read_verdicts(arguments.verdicts, pairs, needed)
    real = read_real(arguments.real, params.get("real", {}))
    judged_real = read_real_verdicts(arguments.real, params.get("real", {}))
    runs = read_runs(arguments.runs)
    published = read_published(arguments.published)
    every = pd.concat([*real, summaries], ignore_index=True)
    with workers(1) as pool:  # figures and their sentences need no verdicts, and take as long
        drawn = pool.submit(figures_of, params, summaries, real, arguments.figures)
        tables = pool.submit(number_tables, params, every, published)
        over = [named(runs.over).assign(seed=0)] if runs else []
        table = verdict_table(pd.concat([*judged_real, *over, verdicts], ignore_index=True), claims)
        if runs:
            in_runs(table, over[0])
        method, first, figures = split_figures(drawn.result())
    lead = of_labels(table, leading_labels(table, runs))
    tiny = Found(summaries, leading(verdicts, runs), lead, study, published["position_grafting"])
    real_models = list(dict.fromkeys(name for found in real for name in found["model"]))
    # One by one: not all of them have been run in all setups.
    groups = [(model, found) for model in real_models if (found := of_real(tiny, model, real, judged_real))]
    groups += [(tiny_models(study["models"]), tiny)] if study["recipes"] else []
    families = families_figure(arguments.families)
    over_figures = [runs_figure(arguments.runs, runs, picture)] if runs else []
    inputs = [
        *(arguments.params, arguments.pyproject, arguments.claims, arguments.notes, arguments.summaries),
        *(arguments.verdicts, arguments.metrics, arguments.published, arguments.figures, arguments.families),
        *(arguments.run_time, arguments.real, arguments.beyond, arguments.runs),
    ]
    return {
        "models": study["models"],
        "real_models": real_models,
        "groups": [
            {
                "who": f"{name}, a really pretrained model" if found is not tiny else name,
                "answer": answer(found, again=bool(place)),
            }
            for place, (name, found) in enumerate(groups)
        ],
        "glance": at_a_glance(every, real_models),
        "findings": told_of(groups),
        "facts": params["generate_facts"]["facts"] if study["recipes"] else 0,
        "own_facts": int(summaries.loc[summaries["setup"].isin(study["own"]), "n"].max())
        if study["own"]
        else 0,
        "method": method,
        "first": first,
        "maps": maps_of(arguments.real, real_models),
        "with_new": study["new_form"]["models"],
        "figures": [
            *figures,
            *([families] if families else []),
            *over_figures,
            *beyond_figures(arguments.beyond, picture),
        ],
        "table": lead,
        "counts": counts(lead),
        "single": of_labels(table, [label for label in table["models"] if label not in lead["models"]]),
        "matrix": matrix(lead, claims, notes["questions"], real_models),
        "numbers": numbers(table),
        "brief": in_brief(lead),
        "runs": {
            "models": listed(list(run_counts(runs.over))),
            "many": many_runs(runs.over),
            "sentences": standing_sentences(runs),
            "coverage": coverage_rows(runs.coverage),
        }
        if runs
        else None,
        "run_time": read_run_time(arguments.run_time),
        "tables": tables.result(),
        "words": words(groups),
        "training": training_table(read_training(arguments.metrics)),
        "sections": read_sections(arguments.params),
        "pins": read_pins(arguments.pyproject),
        "version": read_version(arguments.pyproject),
        "hashes": hashes(inputs),
        "notes": notes,
    }


def of_real(
    tiny: Found,
    model: str,
    summaries: list[pd.DataFrame],
    verdicts: list[pd.DataFrame],
) -> Found | None:
    """What the sentences on a really pretrained model are written from; None where it was not judged."""
    found = [[rows for rows in tables if model in set(rows["model"])] for tables in (summaries, verdicts)]
    if not all(found):
        return None
    summary, judged = (pd.concat(tables, ignore_index=True) for tables in found)
    of_model = {"models": [model], "seeds": [*summary["seed"].unique()]}
    study = {**tiny.study, **of_model, "new_form": {**tiny.study["new_form"], "models": []}}
    return Found(summary, judged, tiny.table, study, tiny.published)


def closing_line(arguments: argparse.Namespace, content: dict[str, Any], size: int) -> str:
    """What was written, and the number that matters: how many verdicts hold."""
    found = content["counts"]
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in found.items())
    silent = [figure["name"] for figure in content["figures"] if not figure["sentences"]]
    without = f"; without sentences: {', '.join(silent)}" if silent else ""
    return (
        f"{arguments.out} ({size / 1e6:.1f} MB, {len(content['figures'])} figures) and {arguments.table}: "
        f"{sum(found.values())} verdicts, {verdicts}{without}"
    )


def main() -> None:
    """Read the arguments, gather, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, what in (
        ("params", "params.yaml, which the page shows whole"),
        ("pyproject", "pyproject.toml: the pinned versions"),
        ("notes", "what needs several runs of the study (yaml)"),
        ("summaries", "folder of the summaries (csv)"),
        ("verdicts", "folder of the verdicts (csv)"),
        ("metrics", "folder with pretrain/ and finetune/ (json)"),
        ("figures", "folder of the figures (png)"),
        ("families", "folder of `make families` (csv, png); may be empty"),
        (
            "run-time",
            "where the seconds of the last `make repro` that trained everything went (csv); may be empty",
        ),
        ("real", "folder of what `make real` found on really pretrained models; may be empty"),
        ("beyond", "folder of what `make beyond` found (csv, png); may be empty"),
        ("runs", "folder of the verdicts over runs of `make runs` (csv, png); may be empty"),
        ("claims", "the claims (yaml)"),
        ("published", "folder of the published values (csv)"),
        ("out", "the page (html)"),
        ("table", "what was found in words, and the verdict table (Markdown)"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    arguments = parser.parse_args()
    with uncollected():
        content = content_of(arguments)
        page = render(content)
    told = f"{content['words']}\n\n{verdict_tables(content['table'], content['single'])}"
    for path, text in ((arguments.out, page), (arguments.table, told)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    print(closing_line(arguments, content, len(page.encode())))


if __name__ == "__main__":
    run_stage(main)
