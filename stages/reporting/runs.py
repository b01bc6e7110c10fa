"""What make beyond found, in the report: its figures with captions and sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from stages.analysis.metrics import SECOND
from stages.analysis.verdicts import ALL, FAILS, SIGNIFICANT
from stages.reporting.phrases import METRIC_WORDS, estimate, listed, number

CAPTIONS = {
    "changes": (
        "How far finetuning moves the weights: the norm of SFT - PRE relative to that of PRE's weights, by component and layer, on "
        "a logarithmic axis; with LoRA the tables do not move. What moves far need not be what brings a fact back."
    ),
    "frozen_tables": (
        "Finetuned with embedding and unembedding left as the base has them, beside the recipe that trains them too: what the "
        "pathways recover of the log-probability, whole and by layers only."
    ),
    "trajectory": (
        "Which pathway comes first? SFT's top-5 accuracy, and what the pathways recover of the log-probability by layers only, at "
        "every tenth of the updates; each point against the model as it is then."
    ),
    "texts": (
        "How many sentences tell a fact: SFT's top-5 accuracy, and what the pathways recover of the log-probability, after as many "
        "updates on 1 to 12 forms a direction; the form of the prompt qa is never among them. Where SFT does not know "
        "the facts, no pathway is drawn."
    ),
    "articles": (
        "Facts read in articles without a template, beside short texts of as many tokens and updates: SFT's top-5 accuracy, and "
        "what the pathways recover of the log-probability. Neither model has read the form of a prompt about them word for word."
    ),
}
TITLES = {
    "changes": 'Figure "how far the weights move"',
    "frozen_tables": 'Figure "frozen tables"',
    "trajectory": 'Figure "on the way"',
    "texts": 'Figure "texts a fact"',
    "articles": 'Figure "articles without a template"',
}
PROMPT = "headline"


def frozen_sentences(folder: Path) -> list[str]:
    """What FE+LT and each pathway recover where the tables are frozen and where they are not, model by model."""
    table = pd.read_csv(folder / "frozen_tables.csv")
    rows = table[(table["prompt"] == PROMPT) & (table["metric"] == "recovered_logprob")]
    said = []
    for scheme in ("FE+LT", "FE", "LT", "FE+LT | layers"):
        parts = []
        for model, of_model in rows[rows["scheme"] == scheme].groupby("model", sort=False):
            values = [
                f"{row.recipe} {estimate(row.estimate, row.low, row.high)}" for row in of_model.itertuples()
            ]
            parts.append(f"{model} (n = {of_model['n'].min()}) {', '.join(values)}")
        said.append(f"{scheme} on {PROMPT}: {'; '.join(parts)}.")
    return said


def deciding(rows: pd.DataFrame) -> pd.Series:
    """Of one claim's rows in one model the part that its verdict rests on, log-probability before logits."""
    verdict = rows.loc[rows["prompt"] == ALL, "verdict"].iloc[0]
    parts = rows[(rows["prompt"] != ALL) & ~rows["metric"].isin(SECOND)]
    chosen = parts[(parts["verdict"] == verdict) & ((verdict != FAILS) | (parts["p_holm"] <= SIGNIFICANT))]
    return (parts if chosen.empty else chosen).iloc[0]


def deciding_words(rows: pd.DataFrame) -> str:
    """headline, logit difference: 0.05 [-0.01, 0.11] over 3 runs."""
    part = deciding(rows)
    told = estimate(part["estimate"], part["low"], part["high"], part["metric"])
    runs = "one run" if part["runs"] == 1 else f"{int(part['runs'])} runs"
    return f"{part['prompt']}, {METRIC_WORDS[part['metric']]}: {told} over {runs}"


def verdict_sentences(folder: Path, study: str) -> list[str]:
    """The verdict of each claim over runs in each model, with the part that it rests on."""
    table = pd.read_csv(folder / f"{study}_verdicts.csv")
    said = []
    for claim, of_claim in table.groupby("claim", sort=False):
        parts = []
        for model, rows in of_claim.groupby("model", sort=False):
            parts.append(
                f"{model} {rows.loc[rows['prompt'] == ALL, 'verdict'].iloc[0]} ({deciding_words(rows)})"
            )
        said.append(f"{claim}, {of_claim['comparison'].iloc[-1]}: {listed(parts)}.")
    return said


def knowing_sentences(folder: Path) -> list[str]:
    """From which share of the updates on SFT knows more than half of the facts by its interval, in each run."""
    table = pd.read_csv(folder / "trajectory.csv")
    rows = table[(table["metric"] == "top5_accuracy") & (table["prompt"] == PROMPT) & (table["low"] > 0.5)]
    first = rows.groupby(["model", "seed"], sort=False)["point"].min()
    parts = [
        f"{model} {', '.join(number(share) for share in shares)}"
        for model, shares in first.groupby("model", sort=False)
    ]
    told = f"SFT's top-5 accuracy on {PROMPT} is above .5 from these shares of the updates on, run by run: {'; '.join(parts)}."
    return [told] if parts else []


def changes_sentences(folder: Path) -> list[str]:
    """How far the layers and the tables of each model moved, after the main recipe, and whether some layers moved more."""
    table = pd.read_csv(folder / "changes.csv")
    rows = table[
        (table["recipe"] == "fmra") & (table["seed"] == table.groupby("model")["seed"].transform("min"))
    ]
    said, tables = [], ["EMBED", "UNEMBED"]
    for model, of_model in rows.groupby("model", sort=False):
        inside = of_model[~of_model["component"].isin(tables)]
        most, least = inside.loc[inside["relative_norm"].idxmax()], inside["relative_norm"].min()
        outside = of_model.loc[of_model["component"].isin(tables), "relative_norm"]
        said.append(
            f"{model} {100 * least:.2g} to {100 * most['relative_norm']:.2g} % in its layers (most in {most['component']} of layer "
            f"{most['layer']}) and up to {100 * outside.max():.2g} % in its tables"
        )
    return [
        f"Finetuning on FMRA moved the weights, by the norm of the change over that of the weights, by: {'; '.join(said)}."
    ]


def article_sentences(folder: Path) -> list[str]:
    """What a run's two models know and what each pathway recovers in them, means over runs; and how alike their trainings are."""
    table, trainings = (pd.read_csv(folder / name) for name in ("articles.csv", "articles_trainings.csv"))
    rows = table[table["prompt"] == PROMPT]

    def means(scheme: str, metric: str) -> str:
        chosen = rows[(rows["scheme"] == scheme) & (rows["metric"] == metric)]
        parts = []
        for model, of_model in chosen.groupby("model", sort=False):
            found = of_model.groupby("point")["estimate"].mean()
            parts.append(f"{model} {number(found['articles'])} and {number(found['short'])}")
        return "; ".join(parts)

    runs, n = rows["seed"].nunique(), rows["n"].min()
    known = f"SFT's top-5 accuracy {means('SFT', 'top5_accuracy')}; its top-50 accuracy {means('SFT', 'top50_accuracy')}"
    recovered = [f"r({scheme}) {means(scheme, 'recovered_logprob')}" for scheme in ("FE", "LT", "FE+LT")]
    wide = trainings.pivot(index=["model", "seed"], columns="training", values="tokens")
    apart = (wide["short"] / wide["articles"] - 1).abs().max()
    return [
        f"After articles and after short texts, on {PROMPT} (n = {n}, means over at most {runs} runs): {known}.",
        f"In the same order, of the log-probability: {'. '.join(recovered)}.",
        f"The two trainings of a run differ by at most {apart:.1%} of their tokens; the bases recall at least "
        f"{trainings['base_recall'].min():.1%} of their own casts.",
    ]


SENTENCES: dict[str, Callable[[Path], list[str]]] = {
    "changes": changes_sentences,
    "frozen_tables": frozen_sentences,
    "trajectory": lambda folder: verdict_sentences(folder, "trajectory") + knowing_sentences(folder),
    "texts": lambda folder: verdict_sentences(folder, "texts"),
    "articles": lambda folder: verdict_sentences(folder, "articles") + article_sentences(folder),
}


def beyond_figures(folder: Path, picture: Callable[[Path], dict[str, Any]]) -> list[dict[str, Any]]:
    """The figures of make beyond that were made, as the page has figures. picture: a file as it stands in the page."""
    shown = []
    for study, sentences in SENTENCES.items():
        if (folder / f"{study}.csv").is_file():
            said = sentences(folder)
            texts = {
                "caption": CAPTIONS[study],
                "sentences": said,
                "alt": " ".join([CAPTIONS[study], *said[:1]]),
            }
            shown.append(
                {
                    "name": f"beyond_{study}",
                    "title": TITLES[study],
                    **texts,
                    **picture(folder / f"{study}.png"),
                }
            )
    return shown
