"""From what a figure draws to its caption and its sentences: one table.

A sentence says "above" or "below" only where 95 % intervals do not meet (phrases.py), and is left out where its numbers
were not measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from stages.plotting.needs import setups_of
from stages.reporting import beyond
from stages.reporting import mechanisms as mechanism
from stages.reporting import mixtures as mixture
from stages.reporting import pathways as pathway
from stages.reporting.phrases import METRIC_WORDS, NotMeasuredError, listed
from stages.reporting.views import Writer, view_of


class Kind(NamedTuple):
    """What figures of one kind show, and the functions that write their sentences."""

    caption: str
    writers: Sequence[Writer] = ()
    repeats: bool = False  # also the other finetuning seeds


KINDS: dict[str, Kind] = {
    "schematic": Kind(
        "Activation patching overwrites a residual stream, and with it all that flowed into it. Grafting overwrites nothing: it "
        "chooses, for each token and component, whether the pretrained or the finetuned weights process it."
    ),
    "positions": Kind(
        "Position grafting (E1): whose weights run at which tokens",
        (pathway.both_and_the_rest, pathway.recall_against_enrichment, pathway.against_a_guess),
    ),
    "own_positions": Kind(
        "Position grafting (E1) on facts of your own",
        (pathway.both_on_own_prompts, pathway.pathways_on_own_prompts),
    ),
    "setups": Kind(
        "Position grafting side by side on {setups}",
        (pathway.in_each_setup, pathway.pathways_in_each_setup),
    ),
    "metrics": Kind(
        "The pathways by every metric (E8)", (pathway.by_each_metric, pathway.pathways_by_each_metric)
    ),
    "families": Kind(
        "All model families and their finetuning seeds on one axis",
        (pathway.recall_against_enrichment, pathway.both_and_the_rest),
        repeats=True,
    ),
    "title": Kind(
        "The movie title (M) and the relation words (R) as positions (E2)",
        (pathway.title_alone, pathway.title_helps_recall),
    ),
    "paraphrases": Kind(
        "Paraphrases seen in finetuning, and held-out ones", (pathway.new_wordings, pathway.new_against_seen)
    ),
    "components": Kind(
        "Components at the last token (E3), grafted onto a model that was finetuned in the other direction only",
        (mechanism.components_at_last_token, mechanism.components_against_each_other),
    ),
    "hybrid": Kind(
        "A task model and a relation model together (E4)",
        (mechanism.hybrid_levels("SFT", "NO FE", "FE FULL"), mechanism.hybrid_against("FE FULL")),
    ),
    "hybrid_components": Kind(
        "Which components of the task model are needed at FE (E4)",
        (
            mechanism.hybrid_levels("NO FE", "FE ATTN", "FE FFN", "FE O+FFN"),
            mechanism.hybrid_against("FE ATTN", "FE FFN"),
        ),
    ),
    "layers_only": Kind(
        "Position grafting with and without embedding, final norm and unembedding (the published code of the paper's authors "
        "grafts neither table unless told to)",
        (mechanism.with_and_without_tables, mechanism.tables_alone),
    ),
    "unembedding": Kind(
        "Whose unembedding reads the answer out (E5)", (mechanism.unembeddings, mechanism.unembedding_pairs)
    ),
    "patching": Kind(
        "Activation patching beside weight grafting (E7)",
        (mechanism.patching_late, mechanism.patching_against_grafting),
    ),
    "controls": Kind(
        "Controls: as many random positions (their intervals are over facts, for these draws), another fact's name, facts learnt "
        "in pretraining, and the third of them that was likeliest early in it",
        (pathway.random_positions, pathway.other_name, pathway.pretrained_facts),
    ),
    "new_form": Kind(
        "When the base does not know the form of the question",
        (mechanism.new_form_levels, mechanism.new_form_against_known),
    ),
    "necessity": Kind(
        "What can be left out: SFT, and FE by layers only, with some components left to the recipient",
        (beyond.left_out, beyond.needed_for_enrichment),
    ),
    "answers": Kind(
        "What is said instead: the kind of the most likely answer under each position scheme",
        (beyond.failed_grafts, beyond.other_failures),
    ),
    "collateral": Kind(
        "What else finetuning changes: casts that the base knows, of people in no new fact",
        (beyond.known_facts, beyond.new_names_there),
    ),
    "strength": Kind(
        "Between PRE and SFT, and beyond: grafts from PRE + a (SFT - PRE)",
        (mixture.growth, mixture.both_against_all_positions),
    ),
    "static": Kind(
        "Position grafting beside a static mask: the largest entries of SFT - PRE at all tokens, by parameters x tokens as many, "
        "over both prompts together",
        (mixture.masks, mixture.masks_against_positions),
    ),
    "knock_out": Kind(
        "Does the last token read the name? Attention from LT to FE cut in windows of layers",
        (mixture.name_not_seen, mixture.name_not_seen_in_windows),
    ),
    "component_map": Kind(
        "Which component of which layer matters, one at a time",
        tuple(
            mechanism.largest_cells(
                "layer_component",
                rf"(?P<what>[A-Z_]+)@{place}\[(?P<layer>\d+)\]",
                "{what} of layer {layer}",
                f"At {place}",
            )
            for place in ("LT", "FE")
        ),
    ),
    "position_map": Kind(
        "Which layer matters at which positions, and which attention head at LT",
        (
            mechanism.largest_cells(
                "position_layer",
                r"(?P<where>[A-Z]+|\([A-Z+]+\)\^C)\[(?P<layer>\d+)\]",
                "{where} in layer {layer}",
                "Over positions and layers",
            ),
            mechanism.largest_cells(
                "heads",
                r"O\{(?P<head>\d+)\}@LT\[(?P<layer>\d+)\]",
                "head {head} of layer {layer}",
                "Over heads at LT",
            ),
        ),
    ),
}


def caption(figure: Mapping[str, Any]) -> str:
    """What a figure of params.yaml's render_figures.figures shows, in words, with its metric."""
    kind = KINDS.get(figure["draws"], Kind(str(figure["draws"]).replace("_", " ")))
    metric = METRIC_WORDS.get(figure.get("metric", ""))
    setups = listed([pathway.SETUP_WORDS.get(name, name) for name in setups_of(figure)] or [""])
    of = f", in {figure['model']}, a really pretrained model" if figure.get("model") else ""
    return f"{kind.caption.format(setups=setups).rstrip('.')}{of}{f': {metric}' if metric else ''}."


def sentences(figure: Mapping[str, Any], summaries: pd.DataFrame, study: Mapping[str, Any]) -> list[str]:
    """The sentences under a figure, of the study's main models and seeds; none for a kind that has no writers here."""
    kind, written = KINDS.get(figure["draws"], Kind("")), []
    seeds = [*study["seeds"], *(study["repeats"]["seeds"] if kind.repeats else [])]
    view = view_of(figure, summaries, study["models"], seeds)
    for write in kind.writers:
        try:
            written.append(write(view))
        except NotMeasuredError:
            continue  # a number that was not measured is not written
    return written
