"""What the pages say in numbers and tables, by the name of its place: each a function of the committed results."""

import ast
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from stages.analysis.claims import Claim, RunClaim, read_claims
from stages.commands.page_numbers import (
    BOTH,
    EMPTY,
    Results,
    estimates,
    known,
    name_unseen,
    new_form,
    of_setup,
    pathways,
    run_time,
    spread,
    task_attention,
)
from stages.commands.page_real import decided, known_of_real, results_of_real, verdicts_of_real
from stages.plotting.results import read_published
from stages.reporting.phrases import listed
from stages.reporting.replication import (
    coverage_rows,
    many_runs,
    read_runs,
    run_counts,
    standing,
    standing_sentences,
)
from stages.reporting.runs import deciding_words
from stages.reporting.tables import scheme_table
from stages.reporting.words import MARKERS as WORDS
from weightgraft.engine.families import FAMILIES

SHOWN = {name: name for name in ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C")}
REST_SFT = "(FE+LT)^C | SFT unembed"
EACH, RATIO = "ms per prompt and scheme", "packed / whole_rows"
BENCH = {  # row -> (experiment, quantity, unit) in results/bench
    f"token by token, with a copy of the model for every token: {EACH}": ("eight position schemes", "token_by_token", EACH),
    f"one pass for each scheme: {EACH}": ("eight position schemes", "masked", EACH),
    f"the engine, all schemes of a prompt in one pass: {EACH}": ("eight position schemes", "packed", EACH),
    "how many times faster the engine is than token by token": (
        "eight position schemes", "token_by_token / packed", "times"),
    "how many times the engine takes a plain forward pass of one model over the same rows": (
        "eight position schemes", "packed / plain", "times"),
    "time for a map of single cells, as a share of what an engine takes whose rows are the same in all layers": (
        "single cells", RATIO, "times"),
    "the same for the grid of components and layers at the last token (E3)": ("grid of E3", RATIO, "times"),
    "the same for a map of heads": ("heads", RATIO, "times"),
    "memory of a rank-16 LoRA donor on every linear layer, beside the recipient's own": (
        "memory", "rank-16 LoRA donor on every linear layer", "% of the recipient"),
}  # fmt: skip


def results_table(results: Results) -> str:
    """Top-5 accuracy on headline: models by schemes, in brackets that of the paper's big model built most like it."""
    study, section = results.params["study"], results.params["render_figures"]
    tiny = known(results)
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


def claims(results: Results) -> list[Claim]:
    return read_claims(results.root / "data/claims.yaml").claims


def run_claims(results: Results) -> list[RunClaim]:
    return read_claims(results.root / "data/claims.yaml").over_runs


def claims_table(results: Results) -> str:
    """Every claim, its words and what is compared; each row can be linked to, as #C1."""
    lines = ["| | claim | what is compared |", "| --- | --- | --- |"]
    every: list[Claim | RunClaim] = [*claims(results), *run_claims(results)]
    for claim in every:
        text, comparison = (
            " ".join(words.split()).replace("|", "\\|") for words in (claim.text, claim.comparison)
        )
        lines.append(f'| <a id="{claim.id}"></a>{claim.id} | {text} | {comparison} |')
    return "\n".join(lines)


def counts(results: Results) -> str:
    """How many verdicts there are of each kind, a claim in a model each: 2 verdicts: 1 holds and 1 fails."""
    found = pd.concat(decided(results.root).values())["verdict"].value_counts()
    return f"{found.sum()} verdicts: " + listed([f"{count} *{verdict}*" for verdict, count in found.items()])


def beyond_table(results: Results) -> str:
    """The claims that are neither the paper's nor controls: what is compared, and the verdicts: how many of each kind of the tiny
    models, and of each really pretrained one."""
    of = decided(results.root)
    lines = ["| claim | what is compared | tiny models | really pretrained |", "| --- | --- | --- | --- |"]
    for claim in claims(results):
        if not claim.id.startswith(("C", "K")):
            cells = []
            for kind, table in of.items():
                found = [(row.model, row.verdict) for row in table[table["claim"] == claim.id].itertuples()]
                counted = Counter(verdict for _, verdict in found)
                told = [f"{number} {verdict}" for verdict, number in counted.most_common()]
                told = [f"{model}: {verdict}" for model, verdict in found] if kind == "real" else told
                cells.append(", ".join(told) or EMPTY)
            lines.append(
                f"| [{claim.id}](claims.md#{claim.id}) {claim.text} | {claim.comparison} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


def beyond_runs(results: Results) -> str:
    """The claims over runs with their verdicts, from `make beyond`: in each model, with the part that it rests on."""
    files = sorted((results.root / "results/beyond").glob("*_verdicts.csv"))
    table = pd.concat([pd.read_csv(file) for file in files], ignore_index=True) if files else None
    lines = ["| claim | what is compared | verdicts |", "| --- | --- | --- |"]
    for claim in run_claims(results):
        told = []
        of_claim = table[table["claim"] == claim.id] if table is not None else pd.DataFrame(columns=["model"])
        for model, rows in of_claim.groupby("model", sort=False):
            verdict = rows.loc[rows["prompt"] == "all", "verdict"].iloc[0]
            told.append(f"{model}: **{verdict}** ({deciding_words(rows)})")
        cells = [
            f"[{claim.id}](claims.md#{claim.id}) {claim.text}",
            claim.comparison,
            ", ".join(told) or EMPTY,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def runs_told(results: Results) -> str:
    """How the verdicts stand over the runs of `make runs`."""
    runs = read_runs(results.root / "results/runs")
    return " ".join(standing_sentences(runs)) if runs else EMPTY


def runs_counted(results: Results) -> str:
    """How many runs there are: 12 runs (3 runs each)."""
    runs = read_runs(results.root / "results/runs")
    return many_runs(runs.over) if runs else EMPTY


def runs_part(results: Results, claim: str, words: str) -> str:
    """Between which numbers a part lies over all runs and both questions: recovered log-probability."""
    runs = read_runs(results.root / "results/runs")
    if not runs:
        return EMPTY
    files = sorted((results.root / "results/runs/verdicts").glob("*.csv"))
    rows = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    rows = rows[
        rows["model"].isin(run_counts(runs.over)) & (rows["claim"] == claim) & rows["prompt"].isin(BOTH)
    ]
    rows = rows[(rows["metric"] == "recovered_logprob") & rows["comparison"].str.startswith(words)]
    return spread(rows["estimate"])


def runs_alike(results: Results) -> str:
    """How many verdicts are alike in all runs: 150 of 190 verdicts alike in all runs, and 7 reverse."""
    if not (runs := read_runs(results.root / "results/runs")):
        return EMPTY
    found = standing(runs.over)
    return f"{found['same']} of {found['total']} are alike in all runs taken one by one, {len(found['reversed'])} reverse"


def coverage_table(results: Results) -> str:
    """How often the interval over runs covers the truth, in simulated studies."""
    runs = read_runs(results.root / "results/runs")
    if not runs:
        return EMPTY
    lines = [
        "| runs | deviation between runs, in standard errors over facts | t-interval over runs | nested bootstrap |"
    ]
    lines.append("| --- | --- | --- | --- |")
    lines += [
        f"| {row['runs']} | {row['spread']} | {row['t']} | {row['nested']} |"
        for row in coverage_rows(runs.coverage)
    ]
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
        "real_results": results_of_real,
        "real_verdicts": verdicts_of_real,
        "known_real": known_of_real,
        "beyond": beyond_table,
        "beyond_runs": beyond_runs,
        "runs_told": runs_told,
        "runs_counted": runs_counted,
        "runs_alike": runs_alike,
        "runs_r_both": lambda results: runs_part(results, "C1", "r(FE+LT) "),
        "runs_r_fe": lambda results: runs_part(results, "C3", "r(FE) above 0"),
        "runs_r_lt": lambda results: runs_part(results, "C3", "r(LT) above 0"),
        "runs_coverage": coverage_table,
        "bench": bench_table,
        "modules_weightgraft": lambda results: modules(results, "weightgraft"),
        "modules_stages": lambda results: modules(results, "stages"),
        "families": lambda results: ", ".join(FAMILIES),
        "cpu_minutes": lambda results: run_time(results, "cpu"),
        "wall_minutes": lambda results: run_time(results, "wall"),
        "beyond_cpu_minutes": lambda results: run_time(results, "cpu", "beyond/run_time.csv"),
        "beyond_wall_minutes": lambda results: run_time(results, "wall", "beyond/run_time.csv"),
        "facts": lambda results: str(results.params["generate_facts"]["facts"]),
        "r_rest_sft_unembed": lambda results: spread(
            estimates(known(results), REST_SFT, prompts=["headline"], experiment="unembedding")
        ),
        "r_both_new_form": lambda results: new_form(results, "FE+LT"),
        "r_fe_new_form": lambda results: new_form(results, "FE"),
        "r_task_attention": task_attention,
        "real_r_task_attention": lambda results: task_attention(results, real=True),
        "r_name_unseen": name_unseen,
        "r_cut": lambda results: name_unseen(results, metric="recovered_logprob"),
        "real_r_name_unseen": lambda results: name_unseen(results, real=True),
        "r_late_patch": lambda results: spread(of_setup(results, "patching", "patching", "patch LT[late]")),
        "r_pretraining_both": lambda results: spread(
            of_setup(results, "pretraining", "pretraining", "FE+LT")
        ),
        "r_pretraining_fe": lambda results: spread(of_setup(results, "pretraining", "pretraining", "FE")),
        "r_pretraining_lt": lambda results: spread(of_setup(results, "pretraining", "pretraining", "LT")),
    }
    return found | pathways("", known) | pathways("real_", lambda results: results.real)
