"""What was found, in sentences for the report and docs/claims.md: every number and every list of models is read off the results.

A sentence whose numbers were not measured is left out. Titles name what is told and do not judge it; the verdicts do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.analysis.verdicts import VERDICTS
from stages.plotting.needs import form_pairs
from stages.reporting.phrases import NotMeasuredError, labels, listed, number
from stages.reporting.replication import model_of

LOGPROB, LOGITS, TOP5 = "recovered_logprob", "recovered_logit_difference", "recovered_top5"
QUESTIONS = ("headline", "qa")
MARKERS = ("<!-- words -->", "<!-- /words -->")
# Balance -> the claim whose parts it is, and what its compared schemes end with.
BALANCES = {
    "as grafted": ("C5", "LT"),
    "with PRE's unembedding for all": ("K10", "LT | PRE unembed"),
    "with SFT's": ("K10", "LT | SFT unembed"),
    "by layers only": ("K17", "LT | layers"),
}


class Found(NamedTuple):
    """All that the sentences are written from."""

    summaries: pd.DataFrame
    verdicts: pd.DataFrame  # a row a part, as judge_claims writes them, or over runs where there are runs
    table: Mapping[str, Any]  # tables.verdict_table of them
    study: Mapping[str, Any]
    published: pd.DataFrame  # the paper's values of position grafting

    def values(
        self,
        scheme: str,
        experiment: str = "positions",
        *,
        setups: Sequence[str] = ("fmra",),
        metric: str = LOGPROB,
        prompts: Sequence[str] = QUESTIONS,
        models: Sequence[str] | None = None,
    ) -> pd.Series:
        """The estimates of a scheme in the study's own run, by model, seed, setup and prompt.

        Raises:
            NotMeasuredError: there is none.
        """
        table = self.summaries
        wanted = (
            (table["scheme"] == scheme) & (table["experiment"] == experiment) & (table["metric"] == metric)
        )
        wanted &= table["setup"].isin(setups) & table["prompt"].isin(prompts) & (table["direction"] == "ab")
        # A finetuning that was repeated with another seed is no run of the whole study.
        wanted &= table["model"].isin(models or self.study["models"]) & table["seed"].isin(
            self.study["seeds"]
        )
        found = table[wanted].set_index(["model", "seed", "setup", "prompt"])["estimate"]
        found = found[np.isfinite(found)]
        if found.empty:
            raise NotMeasuredError
        return found

    def told(self, *claims: str) -> str:
        """C1: 4 holds, 1 fails; C2: 5 holds: in the models that the numbers are of, each finetuning counted."""
        said = []
        for row in self.table["rows"]:
            words = [
                cell["verdict"]
                for label, cell in row["cells"].items()
                if model_of(label) in self.study["models"]
            ]
            if row["claim"] in claims and words:
                counts = [f"{words.count(word)} {word}" for word in VERDICTS if word in words]
                told = words[0] if len(words) == 1 else ", ".join(counts)
                said.append(f"{row['claim']}: {told}")
        if not said:
            raise NotMeasuredError
        return "; ".join(sorted(said, key=lambda text: claims.index(text.partition(":")[0])))


def ranged(values: pd.Series) -> str:
    """0.92 to 1.00; one number where both ends read alike."""
    ends = [number(values.min()), number(values.max())]
    return " to ".join(dict.fromkeys(ends))


def both_and_the_rest(found: Found) -> str:
    both = [ranged(found.values("FE+LT", metric=metric)) for metric in (LOGPROB, LOGITS)]
    rest = [number(found.values("(FE+LT)^C", metric=metric).max()) for metric in (LOGPROB, LOGITS)]
    return (
        f"**FE and LT together, and all the rest.** With SFT's weights at FE and LT, {both[0]} of the log-probability and "
        f"{both[1]} of the logit difference come back; with them everywhere but there, at most {rest[0]} and {rest[1]} "
        f"({found.told('C1', 'C2')})."
    )


def other_recipes(found: Found) -> str:
    setups = {"gentle": "gentle finetuning", "lora": "LoRA"}
    here = {*found.summaries.loc[found.summaries["model"].isin(found.study["models"]), "setup"]}
    both = found.values("FE+LT", setups=[*setups])
    rest = found.values("(FE+LT)^C", setups=[*setups])
    after = listed([name for setup, name in setups.items() if setup in here])
    return (
        f"**Gentle finetuning and LoRA.** After {after} too, FE and LT together recover {ranged(both)} of the log-probability, "
        f"and everything else at most {number(rest.max())} ({found.told('C13', 'K4')})."
    )


def by_layers_only(found: Found) -> str:
    def pair(scheme: str) -> str:
        whole, layers = (found.values(name, "layers_only") for name in (scheme, f"{scheme} | layers"))
        return f"{scheme} recovers {ranged(layers)} (instead of {ranged(whole)})"

    alone = [ranged(found.values(name, "layers_only")) for name in ("EMBED@FE", "UNEMBED@LT")]
    return (
        "**By layers only.** Embedding, final norm and unembedding are left to PRE, as the published code of the paper's "
        "authors does unless it is told otherwise. So grafted, "
        f"{listed([pair(scheme) for scheme in ('FE+LT', 'FE', 'LT')])} of the log-probability, and SFT's layers at all tokens "
        f"recover {ranged(found.values('all | layers', 'layers_only'))}. "
        f"The embedding at FE alone recovers {alone[0]}, the unembedding at LT alone {alone[1]} "
        f"({found.told('K13', 'K14', 'K39', 'K18', 'K19')})."
    )


def each_alone(found: Found) -> str:
    parts = []
    for scheme in ("FE", "LT"):
        top5, logits = (
            ranged(found.values(scheme, metric=metric, prompts=["headline"])) for metric in (TOP5, LOGITS)
        )
        parts.append(
            f"{scheme} alone recovers {top5} of top-5 accuracy (in the paper's big models {_published(found, scheme)}) and "
            f"{logits} of the logit difference"
        )
    return f"**Each pathway alone.** On the question headline {listed(parts)} ({found.told('C3', 'C4')})."


def _published(found: Found, scheme: str) -> str:
    table = found.published.query("dataset == 'fmra' and prompt == 'headline' and metric == 'top5_accuracy'")
    wide = table.pivot(index="model", columns="scheme", values="value")
    return ranged((wide[scheme] - wide["PRE"]) / (wide["SFT"] - wide["PRE"]))


def balance(found: Found) -> str:
    parts = found.verdicts[
        (found.verdicts["metric"] == LOGPROB) & found.verdicts["model"].isin(found.study["models"])
    ]
    over_runs = "runs" in parts and bool(parts["runs"].notna().any())
    parts = parts.assign(label=labels(parts))
    said: dict[str, list[str]] = {}  # which pathway is the stronger one in which models -> by which balances
    for words, (claim, scheme) in BALANCES.items():
        chosen = parts[(parts["claim"] == claim) & parts["comparison"].str.startswith(f"r({scheme}) ")]
        leaning: dict[str, list[str]] = {"LT": [], "FE": [], "neither": []}
        for label, rows in chosen.groupby("label", sort=False):
            side = "LT" if (rows["low"] > 0).all() else "FE" if (rows["high"] < 0).all() else "neither"
            leaning[side].append(str(label))
        if chosen.empty:
            raise NotMeasuredError
        told = ", ".join(f"{side} in {listed(names)}" for side, names in leaning.items() if names)
        said.setdefault(told, []).append(words)
    balances = "; ".join(f"{listed(words)}, {told}" for told, words in said.items())
    return (
        "**Which pathway recovers more.** The stronger one is that which a paired difference of log-probabilities"
        f"{', over runs where there are several,' * over_runs} shows to be ahead on both questions: {balances} "
        f"({found.told('C5', 'K10', 'K17', 'K24')}). Why families differ is not shown."
    )


def at_last_token(found: Found) -> str:
    three, two = (
        ranged(found.values(f"{name}@LT[second_half]", "components", setups=["reversal"]))
        for name in ("ATTN+O+FFN", "O+FFN")
    )
    verdicts = found.told("C7", "K33", "C9", "K34")
    return (
        "**Components at LT.** Grafted in the second half of the layers onto a model that was finetuned in the other "
        f"direction, ATTN, O and FFN together recover {three} of the log-probability, O and FFN {two} ({verdicts})."
    )


def task_attention(found: Found) -> str:
    said = []
    for metric, words in ((LOGPROB, "log-probability"), (LOGITS, "logit difference")):
        with_it, without = (
            found.values(name, "hybrid", setups=["hybrid"], metric=metric) for name in ("FE ATTN", "NO FE")
        )
        said.append(f"{ranged(with_it - without)} of the {words}")
    return (
        "**Attention of the task model at FE.** Added to the relation model's O and FFN at LT, it recovers "
        f"{' and '.join(said)} more ({found.told('C11', 'K36')})."
    )


def new_form(found: Found) -> str:
    pairs = form_pairs(found.study)
    if not pairs:
        raise NotMeasuredError
    known, new = ([model for model in models] for models in zip(*pairs, strict=True))
    parts = []
    for scheme in ("FE+LT", "FE", "LT"):
        here, there = (ranged(found.values(scheme, prompts=["qa"], models=models)) for models in (new, known))
        parts.append(f"{scheme} recovers {here} (instead of {there})")
    return (
        f"**A form of question that the base has never read.** In {listed(new)}, whose bases have never read a question like qa, "
        f"{listed(parts)} of the log-probability. The numbers in brackets are those of {listed(known)}, which were "
        "trained for fewer epochs, so the difference need not come from the form alone."
    )


def late_patch(found: Found) -> str:
    late, last = (
        found.values(f"patch LT[{name}]", "patching", setups=["patching"]) for name in ("late", "last")
    )
    return (
        "**Patching at LT.** SFT's hidden state at LT, copied into PRE's run after the last layer but one, recovers "
        f"{ranged(late)} of the log-probability; after the last layer {ranged(last)}, since PRE's unembedding reads it "
        f"({found.told('K12', 'K37')})."
    )


def pretraining(found: Found) -> str:
    parts = []
    for scheme in ("FE+LT", "LT", "FE"):
        rows = [
            ranged(found.values(scheme, "pretraining", setups=["pretraining"], metric=metric))
            for metric in (LOGPROB, LOGITS)
        ]
        parts.append(
            f"{scheme} recovers {rows[0]} of the log-probability and {rows[1]} of the logit difference"
        )
    return (
        "**Facts of pretraining.** The pretrained model is grafted onto its own early checkpoint, and asked for facts that it "
        f"learnt in between: {listed(parts)} ({found.told('K3', 'K38')})."
    )


def other_facts(found: Found) -> str:
    setups = ["other_facts"]
    both = found.values("other FE+LT", "other_facts", setups=setups, metric=LOGITS)
    names, before = (
        ranged(found.values(scheme, "other_facts", setups=setups, metric="mean_watched_mass"))
        for scheme in ("other LT", "PRE")
    )
    return (
        f"**Another's facts.** Weights that learnt the other half of the facts recover {ranged(both)} of the logit difference "
        f"under FE+LT. LT alone gives the answers that they learnt, by first tokens, a probability of {names}, PRE of {before} "
        f"({found.told('W1', 'W2')})."
    )


WRITERS: tuple[Callable[[Found], str], ...] = (
    both_and_the_rest,
    by_layers_only,
    each_alone,
    balance,
    other_recipes,
    at_last_token,
    task_attention,
    new_form,
    late_patch,
    pretraining,
    other_facts,
)


def findings(found: Found) -> list[tuple[str, str]]:
    """The sentences as (what it begins with in bold, the rest)."""
    told = []
    for write in WRITERS:
        try:
            bold, _, rest = write(found).removeprefix("**").partition("**")
        except NotMeasuredError:
            continue
        told.append((bold.rstrip("."), rest.strip()))
    return told


def told_of(groups: Sequence[tuple[str, Found]]) -> list[dict[str, Any]]:
    """The findings, each with what it is in every group of models: {title, texts: [(name, text)]}."""
    titles: dict[str, list[tuple[str, str]]] = {}
    for name, found in groups:
        for title, text in findings(found):
            titles.setdefault(title, []).append((name, text))
    return [{"title": title, "texts": texts} for title, texts in titles.items()]


def words(groups: Sequence[tuple[str, Found]]) -> str:
    """The findings as lists in Markdown, between markers."""
    told = [
        "\n".join(
            [f"**{finding['title']}**", "", *(f"- In {name}: {text}" for name, text in finding["texts"])]
        )
        for finding in told_of(groups)
    ]
    return "\n\n".join([MARKERS[0], *told, MARKERS[1]])
