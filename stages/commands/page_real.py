"""What the pages say of the really pretrained models: what schemes recover, what came of the claims, what the models knew."""

import json
from pathlib import Path

import pandas as pd

from stages.analysis.claims import read_claims
from stages.analysis.verdicts import VERDICTS
from stages.commands.page_numbers import BOTH, EMPTY, LOGITS, Results
from stages.reporting.phrases import estimate, listed
from stages.reporting.replication import leading, read_runs

SCHEMES = ("FE+LT", "(FE+LT)^C", "FE", "LT")
MEASURES = {"recovered_logprob": "log-probability", LOGITS: "logit difference"}


def results_of_real(results: Results) -> str:
    """A row a model, question and measure: r of the position schemes with its 95 % interval."""
    lines = [
        f"| model | question | of the | {' | '.join(f'`{name}`' for name in SCHEMES)} |",
        f"| --- | --- | --- |{' --- |' * len(SCHEMES)}",
    ]
    rows = results.real[
        (results.real["experiment"] == "positions") & (results.real["direction"] == "ab")
    ].drop_duplicates(["model", "prompt", "metric", "scheme"])
    for model, found in rows.groupby("model", sort=False):
        at = found.set_index(["prompt", "metric", "scheme"])
        for prompt in BOTH:
            for metric, words in MEASURES.items():
                cells = [at.loc[(prompt, metric, scheme)] for scheme in SCHEMES]
                told = " | ".join(estimate(cell["estimate"], cell["low"], cell["high"]) for cell in cells)
                lines.append(f"| {model} ({cells[0]['n']} facts) | `{prompt}` | {words} | {told} |")
    return "\n".join(lines) if len(lines) > 2 else EMPTY


def verdicts_of_real(results: Results) -> str:
    """Which claims hold, fail and are undecided in each really pretrained model, each a link to its row in docs/claims.md."""
    order = [claim.id for claim in read_claims(results.root / "data/claims.yaml").claims]
    told = []
    for file in sorted((results.root / "results/real/verdicts").glob("*.csv")):
        table = pd.read_csv(file)
        table = table[table["prompt"] == "all"].sort_values("claim", key=lambda names: names.map(order.index))
        kinds = []
        for verdict in VERDICTS:
            names = table.loc[table["verdict"] == verdict, "claim"]
            if len(names):
                links = ", ".join(f"[{name}](claims.md#{name})" for name in names)
                kinds.append(f"  - {len(names)} {verdict}: {links}")
        told.append("\n".join([f"- {listed([*table['model'].unique()])}:", *kinds]))
    return "\n".join(told) or EMPTY


def known_of_real(results: Results) -> str:
    """How many of the questions about the casts of real films each pretrained model answers right at once."""
    files = sorted((results.root / "results/real/metrics/pretrain").glob("*.json"))
    shares = {file.stem: json.loads(file.read_text(encoding="utf-8"))["own_casts_recalled"] for file in files}
    return listed([f"{100 * share:.1f} % ({model})" for model, share in shares.items()]) if shares else EMPTY


def decided(root: Path) -> dict[str, pd.DataFrame]:
    """The claims' verdicts that lead: of the tiny models, over runs where there are some, and of the really pretrained ones."""
    tiny, real = (
        [pd.read_csv(file) for file in sorted((root / folder).glob("*.csv"))]
        for folder in ("results/verdicts", "results/real/verdicts")
    )
    own = leading(pd.concat(tiny, ignore_index=True), read_runs(root / "results/runs"))
    found = {"tiny": own, "real": pd.concat(real, ignore_index=True) if real else own.iloc[:0]}
    return {kind: table[table["prompt"] == "all"] for kind, table in found.items()}
