"""Stage judge_claims: the claims of data/claims.yaml judged on every model's per-fact tables: verdicts with intervals."""

import argparse
from collections import Counter
from pathlib import Path

import pandas as pd

from stages.analysis.claims import Claims, read_claims
from stages.analysis.tables import read_scores, write_csv
from stages.analysis.verdicts import ALL, VERDICTS, judge
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from stages.study.items import summary_items
from weightgraft.errors import UserError
from weightgraft.progress import bar


def read_published(folder: Path, claims: Claims) -> dict[str, pd.DataFrame]:
    """The paper's values by experiment: dataset, model, prompt, scheme, metric, value."""
    tables = {}
    for experiment, source in claims.published.items():
        path = folder / source.file
        if not path.is_file():
            raise UserError(f"{path} is missing: the claims compare {experiment} with it")
        tables[experiment] = pd.read_csv(path)
    return tables


def read_tables(folder: Path, model: str, seed: int, setups: list[str]) -> dict[str, pd.DataFrame]:
    """The per-fact table of each setup of a model.

    Raises:
        UserError: a file is missing, damaged, or of another model, seed or setup.
    """
    tables = {}
    for setup in setups:
        path = folder / f"{model}-{seed}" / f"{setup}.parquet"
        table = read_scores(path)
        for column, value in (("model", model), ("seed", seed), ("setup", setup)):
            if column not in table or set(table[column]) != {value}:
                found = sorted(map(str, set(table[column]))) if column in table else "missing"
                raise UserError(f"{path}: {column} is {found}, not {value!r}")
        tables[setup] = table
    return tables


def main() -> None:
    """Read the arguments; judge and write, model by model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--claims", type=Path, required=True, help="claims.yaml")
    parser.add_argument("--scores", type=Path, required=True, help="folder of the per-fact tables")
    parser.add_argument("--published", type=Path, required=True, help="folder of the paper's values")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the verdicts, one csv a model and seed"
    )
    arguments = parser.parse_args()
    item = read_settings(arguments.settings)
    claims = read_claims(arguments.claims)
    published = read_published(arguments.published, claims)
    setups: dict[tuple[str, int], list[str]] = {}
    for model, seed, setup in summary_items(item["study"]):
        setups.setdefault((model, seed), []).append(setup)
    tables = {
        (model, seed): read_tables(arguments.scores, model, seed, names)
        for (model, seed), names in setups.items()
    }
    judged = {}
    with bar("judge_claims", len(tables), "models and seeds") as shown:
        for (model, seed), of_model in tables.items():
            judged[model, seed] = judge(
                claims,
                of_model,
                family=item["families"][model],
                published=published,
                counterpart=item["counterparts"].get(model),
                **item["judge_claims"],
            )
            shown.update()
    counts: Counter[str] = Counter()
    found: set[str] = set()
    for (model, seed), verdicts in judged.items():
        out = arguments.out / f"{model}-{seed}.csv"
        write_csv(verdicts, out)
        found |= set(verdicts["claim"])
        counts.update(verdicts.loc[verdicts["prompt"] == ALL, "verdict"])
    told = ", ".join(f"{counts[word]} {word}" for word in VERDICTS)
    print(
        f"judge_claims: {arguments.out}: {counts.total()} verdicts on {len(setups)} models and seeds: {told}"
    )
    if unjudged := [claim.id for claim in claims.claims if claim.id not in found]:
        print(
            f"judge_claims: not judged, since the study does not list all their setups: {', '.join(unjudged)}"
        )


if __name__ == "__main__":
    run_stage(main)
