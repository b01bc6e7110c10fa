"""Sentences on positions: the two pathways, the movie title, wordings, recipes and datasets, metrics, controls."""

from typing import Any

import pandas as pd

from stages.analysis.metrics import FLAT_GUESS, GUESSED
from stages.reporting.phrases import NotMeasuredError, compared, listed, measure, place, setting, spread
from stages.reporting.views import View, look

SETUP_WORDS = {
    "fmra": "FMRA",
    "fmfa": "FMFA",
    "rmra_shuffled": "RMRA-shuffled",
    "gentle": "FMRA after gentle finetuning",
    "lora": "FMRA with LoRA",
    "frozen_tables": "FMRA with embedding and unembedding not trained",
}


def joined(parts: list[str]) -> str:
    """Parts of a sentence, with a capital and a full stop."""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def both_and_the_rest(view: View) -> str:
    both, rest = look(view, "FE+LT", "positions"), look(view, "(FE+LT)^C", "positions")
    return f"FE and LT together are at {spread(both)}, all other positions together at {spread(rest)} {setting(both)}."


def recall_against_enrichment(view: View) -> str:
    fe, lt = look(view, "FE", "positions"), look(view, "LT", "positions")
    return f"Alone, LT is at {spread(lt)} and FE at {spread(fe)}; {compared('LT', lt, 'FE', fe)}."


def against_a_guess(view: View) -> str:
    """Of log-probability alone: what a guess that has no fact would recover, and which pathway is above it."""
    if view.metric != "recovered_logprob":
        raise NotMeasuredError
    guess = look(view, FLAT_GUESS, "positions", metric=GUESSED)
    parts = [compared(name, look(view, name, "positions"), "it", guess) for name in ("LT", "FE")]
    return (
        "A guess that has learnt no fact, and only how often each first token begins one of the answers, is at "
        f"{spread(guess)}: {'; '.join(parts)}."
    )


def title_alone(view: View) -> str:
    title, words, pre = (look(view, scheme, "title", prompt="movie_title") for scheme in ("M", "R", "PRE"))
    return (
        f"The movie title alone (M) is at {spread(title)}, the relation words alone (R) at {spread(words)} "
        f"{setting(title)}; {compared('M', title, 'PRE', pre)}."
    )


def title_helps_recall(view: View) -> str:
    alone, helped = (look(view, scheme, "title", prompt="movie_title") for scheme in ("LT", "M+LT"))
    return f"LT is at {spread(alone)}, with the title at {spread(helped)}; {compared('M+LT', helped, 'LT', alone)}."


def wordings(view: View, scheme: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A scheme on paraphrases that the finetuning used, and on held-out ones."""
    seen, new = (
        look(view, scheme, "positions", prompt="paraphrases", split=split) for split in ("seen", "held_out")
    )
    return seen, new


def new_wordings(view: View) -> str:
    seen, new = wordings(view, "FE+LT")
    return (
        f"FE+LT is at {spread(new)} on paraphrases that no text of the finetuning uses, and at {spread(seen)} on those that the "
        f"texts use {setting(new)}."
    )


def new_against_seen(view: View) -> str:
    parts = []
    for scheme in ("SFT", "FE+LT"):
        seen, new = wordings(view, scheme)
        parts.append(compared(f"{scheme} on held-out paraphrases", new, f"{scheme} on seen ones", seen))
    return joined(parts)


def in_each_setup(view: View) -> str:
    rows = {name: look(view, "FE+LT", "positions", setup=name) for name in view.setups}
    parts = [f"{spread(found)} on {SETUP_WORDS.get(name, name)}" for name, found in rows.items()]
    return f"FE+LT is at {listed(parts)} {setting(pd.concat(rows.values()))}."


def pathways_in_each_setup(view: View) -> str:
    parts = []
    for name in view.setups:
        fe, lt = (look(view, scheme, "positions", setup=name) for scheme in ("FE", "LT"))
        parts.append(f"on {SETUP_WORDS.get(name, name)} {compared('LT', lt, 'FE', fe)}")
    return joined(parts)


def on_own_prompts(view: View, scheme: str) -> dict[str, pd.DataFrame]:
    """A scheme on each prompt about facts of one's own."""
    asked = view.summaries.loc[view.summaries["experiment"] == "own_positions", "prompt"].unique()
    return {prompt: look(view, scheme, "own_positions", prompt=prompt) for prompt in asked}


def both_on_own_prompts(view: View) -> str:
    both, rest = on_own_prompts(view, "FE+LT"), on_own_prompts(view, "(FE+LT)^C")
    parts = [f"{spread(both[prompt])} against {spread(rest[prompt])} on {prompt}" for prompt in both]
    if not parts:
        raise NotMeasuredError
    every = pd.concat(both.values())
    return (
        f"FE and LT together are, against all other positions together, at {listed(parts)} {setting(every)}."
    )


def pathways_on_own_prompts(view: View) -> str:
    fe, lt = on_own_prompts(view, "FE"), on_own_prompts(view, "LT")
    if not fe:
        raise NotMeasuredError
    return joined([f"on {prompt} {compared('LT', lt[prompt], 'FE', fe[prompt])}" for prompt in fe])


def by_each_metric(view: View) -> str:
    rows = [
        look(view, "FE+LT", "positions", metric=metric)
        for metric in ("top1_accuracy", "top100_accuracy", "mean_rank")
    ]
    parts = [f"{spread(found)} by {measure(found)}" for found in rows]
    return f"FE+LT is at {listed(parts)} ({place(rows[0])})."


def pathways_by_each_metric(view: View) -> str:
    parts = []
    for metric, words in (
        ("top1_accuracy", "top-1 accuracy"),
        ("top100_accuracy", "top-100 accuracy"),
        ("mean_probability", "probability"),
    ):
        fe, lt = (look(view, scheme, "positions", metric=metric) for scheme in ("FE", "LT"))
        parts.append(f"by {words} {compared('LT', lt, 'FE', fe)}")
    return joined(parts)


def random_positions(view: View) -> str:
    parts = []
    for scheme in ("FE", "LT"):
        grafted, control = (
            look(view, name, "random_positions", prompt="qa") for name in (scheme, f"{scheme}_random")
        )
        parts.append(compared(scheme, grafted, "as many random positions", control, "them"))
    return f"{joined(parts).removesuffix('.')} {setting(grafted)}."


def other_name(view: View) -> str:
    where: dict[str, Any] = {"prompt": "movie_title_other_name", "metric": "mean_logit_difference"}
    rows = {scheme: look(view, scheme, "other_name", **where) for scheme in ("FE", "M", "FE+LT")}
    parts = [f"{scheme} is at {spread(found)}" for scheme, found in rows.items()]
    return (
        f"With another fact's actor beside the title, {listed(parts)} {setting(rows['FE'])}: above 0 the answer follows the "
        f"name, below 0 the title."
    )


def pretrained_facts(view: View) -> str:
    both, rest = (look(view, scheme, "pretraining") for scheme in ("FE+LT", "(FE+LT)^C"))
    half_known = look(view, "FE+LT", "half_known")
    return (
        f"For facts learnt in pretraining (the base grafted onto its own earlier checkpoint) FE+LT is at {spread(both)}, all "
        f"other positions together at {spread(rest)} {setting(both)}; on the third of them that the checkpoint finds most likely "
        f"FE+LT is at {spread(half_known)}."
    )
