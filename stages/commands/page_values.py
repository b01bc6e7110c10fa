"""What the pages say in numbers, by the name of its place: each a function of the committed results."""

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stages.analysis.claims import Claim, read_claims
from stages.plotting.results import read_published
from stages.reporting.phrases import listed, number
from stages.reporting.tables import scheme_table
from stages.reporting.words import MARKERS as WORDS
from stages.study.params import read_yaml
from weightgraft.engine.families import FAMILIES
from weightgraft.errors import UserError

SHOWN = {name: name for name in ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C")}
BOTH, LOGITS = ("headline", "qa"), "recovered_logit_difference"
REST_SFT = "(FE+LT)^C | SFT unembed"
EMPTY = "not yet measured"
EACH = "ms per prompt and scheme"
BENCH = {  # row -> (experiment, quantity, unit) in results/bench
    f"token by token, with a copy of the model for every token: {EACH}": ("eight position schemes", "token_by_token", EACH),
    f"one pass for each scheme: {EACH}": ("eight position schemes", "masked", EACH),
    f"the engine, all schemes of a prompt in one pass: {EACH}": ("eight position schemes", "packed", EACH),
    "how many times faster the engine is than token by token": (
        "eight position schemes", "token_by_token / packed", "times"),
    "how many times the engine takes a plain forward pass of one model over the same rows": (
        "eight position schemes", "packed / plain", "times"),
    "memory of a rank-16 LoRA donor on every linear layer, beside the recipient's own": (
        "memory", "rank-16 LoRA donor on every linear layer", "% of the recipient"),
}  # fmt: skip


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
    tiny, real = (
        [pd.read_csv(path) for path in sorted((root / folder).glob("*/fmra.csv"))]
        for folder in ("results/summary", "results/real/summary")
    )
    if not tiny:
        raise UserError(f"{root / 'results/summary'}: no summaries; run the study first")
    found = pd.concat(real, ignore_index=True) if real else tiny[0].iloc[:0]
    return Results(root, params, pd.concat(tiny, ignore_index=True), found)


def results_table(results: Results) -> str:
    """Top-5 accuracy on headline: models by schemes, the paper's value of the same family's big model in brackets."""
    study, section = results.params["study"], results.params["render_figures"]
    tiny = results.tiny[
        results.tiny["model"].isin(study["models"]) & results.tiny["seed"].isin(study["seeds"])
    ]
    order = {name: place for place, name in enumerate([*results.params.get("real", {}), *study["models"]])}
    lines = [f"| model | {' | '.join(f'`{name}`' for name in SHOWN)} |", f"| --- |{' --- |' * len(SHOWN)}"]
    for kind, rows in (("pretrained", results.real), ("tiny", tiny)):
        rows = rows.sort_values("model", key=lambda names: names.map(order), kind="stable")
        table = scheme_table(
            rows, read_published(results.root / "data/published")["position_grafting"], section["counterparts"],
            setup="fmra", experiment="positions", prompts=["headline"], schemes=SHOWN,
        )  # fmt: skip
        for row in table:
            big = section["counterparts"].get(row["model"].split(" seed ")[0])
            cells = [
                f"{cell['estimate']} ({cell['published']})" if cell["published"] else cell["estimate"]
                for cell in row["cells"]
            ]
            name = f"**{row['model']}**" if kind == "pretrained" else row["model"]
            lines.append(f"| {name}{f' ({big})' if big else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def estimates(
    frame: pd.DataFrame,
    scheme: str,
    *,
    models: Sequence[str] | None = None,
    prompts: Sequence[str] = BOTH,
    experiment: str = "positions",
    metric: str = "recovered_logprob",
) -> pd.Series:
    """The estimates of one scheme, over models, seeds and prompts."""
    rows = frame[
        (frame["scheme"] == scheme)
        & (frame["experiment"] == experiment)
        & (frame["metric"] == metric)
        & (frame["direction"] == "ab")
        & frame["prompt"].isin(prompts)
    ]
    return rows.loc[rows["model"].isin(models) if models is not None else slice(None), "estimate"]


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
    frames = [pd.read_csv(file) for file in files]
    frame = pd.concat(frames, ignore_index=True) if frames else results.tiny.iloc[:0]
    return estimates(frame, scheme, experiment=experiment, metric=metric).reset_index(drop=True)


def task_attention(results: Results, real: bool = False) -> str:
    """What the task model's attention at FE adds (E4), in each model and on each question."""
    with_it, without = (of_setup(results, "hybrid", "hybrid", name, real) for name in ("FE ATTN", "NO FE"))
    return spread(with_it - without)


def name_unseen(results: Results, real: bool = False) -> str:
    """The logit difference that FE recovers where attention from LT to FE is cut in all layers."""
    return spread(of_setup(results, "knock_out", "knock_out", "FE | cut all", real, LOGITS))


def run_time(results: Results, of: str) -> str:
    """Minutes of the last whole `make repro`: of all cores together (cpu), or on the clock (wall)."""
    table = pd.read_csv(results.root / "results/run_time.csv")
    used = table.loc[table["kind"] != "idle cores", "cpu_seconds"].sum()
    seconds = used if of == "cpu" else table["wall_seconds"].iloc[0]
    return str(int(seconds / 60 + 0.5))


def claims(results: Results) -> list[Claim]:
    return read_claims(results.root / "data/claims.yaml").claims


def claims_table(results: Results) -> str:
    """Every claim, its words and what is compared; each row can be linked to, as #C1."""
    lines = ["| | claim | what is compared |", "| --- | --- | --- |"]
    for claim in claims(results):
        text, comparison = (
            " ".join(words.split()).replace("|", "\\|") for words in (claim.text, claim.comparison)
        )
        lines.append(f'| <a id="{claim.id}"></a>{claim.id} | {text} | {comparison} |')
    return "\n".join(lines)


def counts(results: Results) -> str:
    """How many verdicts there are of each kind, a claim in a model each: 2 verdicts: 1 holds and 1 fails."""
    files = sorted((results.root / "results/verdicts").glob("*.csv"))
    table = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    found = table.loc[table["prompt"] == "all", "verdict"].value_counts()
    return f"{found.sum()} verdicts: " + listed([f"{count} *{verdict}*" for verdict, count in found.items()])


def beyond_table(results: Results) -> str:
    """The claims that are neither the paper's nor controls: what is compared, and how many models' verdicts are of each kind."""
    files = sorted((results.root / "results/verdicts").glob("*.csv"))
    table = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    table = table[table["prompt"] == "all"]
    lines = ["| claim | what is compared | verdicts |", "| --- | --- | --- |"]
    for claim in claims(results):
        if not claim.id.startswith(("C", "K")):
            found = table.loc[table["claim"] == claim.id, "verdict"].value_counts()
            told = ", ".join(f"{count} {verdict}" for verdict, count in found.items()) or EMPTY
            lines.append(f"| [{claim.id}](claims.md#{claim.id}) {claim.text} | {claim.comparison} | {told} |")
    return "\n".join(lines)


def bench_table(results: Results) -> str:
    """The engine against the literal procedure, from `make bench`."""
    sizes = {"tiny": "tiny models", "gpt2": "GPT-2's shape (124 M parameters)"}
    lines = [f"| | {' | '.join(sizes.values())} |", "| --- | --- | --- |"]
    for words, where in BENCH.items():
        cells = []
        for size in sizes:
            table = pd.read_csv(results.root / f"results/bench/{size}-float32-cpu.csv")
            value = table.set_index(["experiment", "quantity", "unit"])["value"].loc[[where]].iloc[0]
            cells.append(f"{value:,.0f}" if value >= 100 else f"{value:.3g}")
            cells[-1] += " %" if where[-1].startswith("%") else ""
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def modules(results: Results, package: str) -> str:
    """Every module of a package, with what its docstring begins with, a table for each folder."""
    folders: dict[Path, list[str]] = {}
    for file in sorted((results.root / package).rglob("*.py")):
        told = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        if told:
            path = file.relative_to(results.root)
            words = " ".join(told.split("\n\n")[0].split()).replace("|", "\\|").rstrip(":")
            folders.setdefault(path.parent, []).append(f"| [{path.name}](../{path}) | {words} |")
    tables = (
        "\n".join([f"### {folder}", "", "| file | what it is |", "| --- | --- |", *rows])
        for folder, rows in sorted(folders.items())
    )
    return "\n\n".join(tables)


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
        f"{prefix}r_both_layers": lambda results: by_layers(models(results), "FE+LT"),
        f"{prefix}r_all_layers": lambda results: by_layers(models(results), "all"),
    }


def told(results: Results) -> tuple[str, str]:
    """What write_report has made of the verdicts: sentences, and the table."""
    text = (results.root / "results/verdicts.md").read_text(encoding="utf-8")
    words, mark, table = text.partition(WORDS[1])
    return (words.partition(WORDS[0])[2].strip(), table.strip()) if mark else (EMPTY, text.strip())


def values() -> dict[str, Callable[[Results], str]]:
    """What each place holds. r_...: recovered fractions of log-probability, on headline and qa; real_...: the same of the
    really pretrained models."""
    found: dict[str, Callable[[Results], str]] = {
        "results": results_table,
        "words": lambda results: told(results)[0],
        "verdicts": lambda results: told(results)[1],
        "claims": claims_table,
        "verdict_counts": counts,
        "beyond": beyond_table,
        "bench": bench_table,
        "modules_weightgraft": lambda results: modules(results, "weightgraft"),
        "modules_stages": lambda results: modules(results, "stages"),
        "families": lambda results: ", ".join(FAMILIES),
        "cpu_minutes": lambda results: run_time(results, "cpu"),
        "wall_minutes": lambda results: run_time(results, "wall"),
        "facts": lambda results: str(results.params["generate_facts"]["facts"]),
        "r_rest_sft_unembed": lambda results: spread(
            estimates(known(results), REST_SFT, prompts=["headline"], experiment="unembedding")
        ),
        "r_both_new_form": lambda results: new_form(results, "FE+LT"),
        "r_fe_new_form": lambda results: new_form(results, "FE"),
        "r_task_attention": task_attention,
        "real_r_task_attention": lambda results: task_attention(results, real=True),
        "r_name_unseen": name_unseen,
        "real_r_name_unseen": lambda results: name_unseen(results, real=True),
        "r_late_patch": lambda results: spread(of_setup(results, "patching", "patching", "patch LT[late]")),
        "r_pretraining_both": lambda results: spread(
            of_setup(results, "pretraining", "pretraining", "FE+LT")
        ),
        "r_pretraining_fe": lambda results: spread(of_setup(results, "pretraining", "pretraining", "FE")),
        "r_pretraining_lt": lambda results: spread(of_setup(results, "pretraining", "pretraining", "LT")),
    }
    return found | pathways("", known) | pathways("real_", lambda results: results.real)
