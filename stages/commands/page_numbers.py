"""The numbers of README and docs, read off the committed results: what schemes recover, over models and questions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stages.analysis.metrics import FLAT_GUESS, GUESSED
from stages.reporting.phrases import listed, number
from stages.study.items import summary_items
from stages.study.params import read_yaml
from weightgraft.errors import UserError

BOTH, LOGITS = ("headline", "qa"), "recovered_logit_difference"
EMPTY = "not yet measured"


class Results(NamedTuple):
    """The committed results. tiny, real: summaries of the setup fmra of the models trained here, and of really pretrained
    ones (empty where `make real` has not been run)."""

    root: Path
    params: dict[str, Any]
    tiny: pd.DataFrame
    real: pd.DataFrame


def read_results(root: Path) -> Results:
    """Everything that the values are made of, but for what only one of them reads.

    Raises:
        UserError: there are no summaries.
    """
    params = read_yaml(root / "params.yaml")
    # Of what the study and `real` list: DVC leaves the summaries of a model or seed that they listed once. Without finetunings
    # that were repeated with another seed (study.repeats): the pages say that their numbers are of one run.
    study = params["study"]
    runs = {f"{model}-{seed}" for model, seed, _ in summary_items(study) if seed in study["seeds"]}
    tiny = [
        pd.read_csv(path)
        for path in sorted((root / "results/summary").glob("*/fmra.csv"))
        if path.parent.name in runs
    ]
    real = [
        pd.read_csv(path)
        for path in sorted((root / "results/real/summary").glob("*/fmra.csv"))
        if path.parent.name.rpartition("-")[0] in params.get("real", {})
    ]
    if not tiny:
        raise UserError(f"{root / 'results/summary'}: no summaries; run the study first")
    found = pd.concat(real, ignore_index=True) if real else tiny[0].iloc[:0]
    return Results(root, params, pd.concat(tiny, ignore_index=True), found)


def estimates(
    frame: pd.DataFrame,
    scheme: str,
    *,
    models: Sequence[str] | None = None,
    prompts: Sequence[str] = BOTH,
    experiment: str = "positions",
    metric: str = "recovered_logprob",
) -> pd.Series:
    """The estimates of one scheme, by model, seed and prompt."""
    rows = frame[
        (frame["scheme"] == scheme)
        & (frame["experiment"] == experiment)
        & (frame["metric"] == metric)
        & (frame["direction"] == "ab")
        & frame["prompt"].isin(prompts)
    ]
    rows = rows[rows["model"].isin(models)] if models is not None else rows
    return rows.set_index(["model", "seed", "prompt"])["estimate"]


def spread(found: pd.Series) -> str:
    """0.53 to 0.74; one number where the two ends read alike."""
    if found.empty:
        return EMPTY
    return " to ".join(dict.fromkeys([number(found.min()), number(found.max())]))


def largest(found: pd.Series) -> str:
    return number(found.max()) if len(found) else EMPTY


def known(results: Results) -> pd.DataFrame:
    """The tiny models whose bases know the form of the question."""
    return results.tiny[results.tiny["model"].isin(results.params["study"]["models"])]


def new_form(results: Results, scheme: str) -> str:
    """On qa, in the models whose bases have never read the form of that question."""
    return listed(
        [
            f"{spread(estimates(results.tiny, scheme, models=[model], prompts=['qa']))} in {model}"
            for model in results.params["study"]["new_form"]["models"]
        ]
    )


def of_setup(
    results: Results,
    setup: str,
    experiment: str,
    scheme: str,
    real: bool = False,
    metric: str = "recovered_logprob",
) -> pd.Series:
    """The estimates of one scheme over the models of the study, or the really pretrained ones, of another setup than fmra."""
    files = [
        results.root / f"results/summary/{model}-{seed}/{setup}.csv"
        for model in results.params["study"]["models"]
        for seed in results.params["study"]["seeds"]
    ]
    if real:
        files = sorted((results.root / "results/real/summary").glob(f"*/{setup}.csv"))
    frames = [pd.read_csv(file) for file in files if file.is_file()]
    frame = pd.concat(frames, ignore_index=True) if frames else results.tiny.iloc[:0]
    return estimates(frame, scheme, experiment=experiment, metric=metric)


def task_attention(results: Results, real: bool = False) -> str:
    """What the task model's attention at FE adds (E4), in each model and on each question."""
    with_it, without = (of_setup(results, "hybrid", "hybrid", name, real) for name in ("FE ATTN", "NO FE"))
    return spread(with_it - without)


def name_unseen(results: Results, real: bool = False, metric: str = LOGITS) -> str:
    """What FE recovers where attention from LT to FE is cut in all layers."""
    return spread(of_setup(results, "knock_out", "knock_out", "FE | cut all", real, metric))


def run_time(results: Results, of: str, table: str = "run_time.csv") -> str:
    """Minutes of the last whole run of a command: of all cores together (cpu), or on the clock (wall). table: the command's."""
    told = pd.read_csv(results.root / "results" / table)
    used = told.loc[told.iloc[:, 0] != "idle cores", "cpu_seconds"].sum()
    seconds = used if of == "cpu" else told["wall_seconds"].iloc[0]
    return str(int(seconds / 60 + 0.5))


def by_layers(frame: pd.DataFrame, scheme: str) -> str:
    """What a scheme recovers where embedding, final norm and unembedding are left to PRE."""
    return spread(estimates(frame, f"{scheme} | layers", experiment="layers_only"))


def pathways(prefix: str, models: Callable[[Results], pd.DataFrame]) -> dict[str, Callable[[Results], str]]:
    """What both places, each of them, and all others recover in some models."""
    return {
        f"{prefix}r_both": lambda results: spread(estimates(models(results), "FE+LT")),
        f"{prefix}r_rest": lambda results: largest(estimates(models(results), "(FE+LT)^C")),
        f"{prefix}r_fe": lambda results: spread(estimates(models(results), "FE")),
        f"{prefix}r_lt": lambda results: spread(estimates(models(results), "LT")),
        f"{prefix}r_guess": lambda results: spread(estimates(models(results), FLAT_GUESS, metric=GUESSED)),
        f"{prefix}r_fe_logits": lambda results: spread(estimates(models(results), "FE", metric=LOGITS)),
        f"{prefix}r_lt_logits": lambda results: spread(estimates(models(results), "LT", metric=LOGITS)),
        f"{prefix}r_both_logits": lambda results: spread(estimates(models(results), "FE+LT", metric=LOGITS)),
        f"{prefix}r_both_layers": lambda results: by_layers(models(results), "FE+LT"),
        f"{prefix}r_all_layers": lambda results: by_layers(models(results), "all"),
    }
