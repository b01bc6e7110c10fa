"""Bad input of every kind ends in one line that names the cause: params.yaml key by key, templates, facts of one's own, films.

What is broken, and how, is in broken_inputs.py; model directories are in test_bad_models.py.
"""

import gzip
import json
import random
import re
import shutil
import sys
from pathlib import Path

import pytest
from broken_inputs import (
    FACTS,
    NOBODY,
    PARAMS,
    TEMPLATES,
    changed,
    ended_before,
    removed,
    unknown_keys,
    written,
    wrong_params,
)

from stages import check_params, fetch_films
from stages.check_params import check
from weightgraft.errors import UserError, run_main

DATA = Path("data")
# IMDb's tables with one film.
TABLES = {
    "title_ratings": [["tconst", "averageRating", "numVotes"], ["tt1", "7.5", "900"]],
    "title_basics": [
        ["tconst", "titleType", "primaryTitle", "isAdult", "startYear", "genres"],
        ["tt1", "movie", "Alpha", "0", "1999", "Action"],
    ],
    "title_principals": [
        ["tconst", "ordering", "nconst", "category", "characters"],
        *(["tt1", str(n), f"nm{n}", kind, r"\N"] for n, kind in enumerate(("actor", "actor", "director"), 1)),
    ],
    "name_basics": [["nconst", "primaryName"], *([f"nm{n}", name] for n, name in enumerate(("Ann One", "Bea Two", "Cid Six"), 1))],
}  # fmt: skip


def refusal(values: dict, data: Path = DATA) -> str:
    """The line with which these params and this data are refused."""
    with pytest.raises(UserError) as raised:
        check(values, data)
    line = str(raised.value)
    assert line and "\n" not in line
    return line


def ids(cases: list) -> list[str]:
    return [f"{'.'.join(map(str, path))}={str(value)[:20]}" for path, value in cases]


@pytest.mark.parametrize(("path", "value"), wrong_params(seed=0), ids=ids(wrong_params(seed=0)))
def test_a_wrong_value_of_any_key_is_told_with_the_key_and_the_value(path, value):
    line, key = refusal(changed(path, value)), ".".join(path)
    # A name that nothing has may be told at the section that lacks it, such as "setups.fmra: a model ...: 'basex'".
    told = {key, ".".join(path[:2]) if repr(value) in line else key, f"{'.'.join(path[:-1])}: {path[-1]!r}"}
    assert any(words in line for words in told), line
    if isinstance(value, str):
        assert re.split("[@+]", value)[-1] in line, line  # of a scheme, the part that is wrong
    elif isinstance(value, int | float):
        assert repr(value) in line, line
    elif isinstance(value, list) and NOBODY in value:
        assert NOBODY in line or f"{key} is" in line, line


@pytest.mark.parametrize(("path", "value"), unknown_keys(seed=0), ids=ids(unknown_keys(seed=0)))
def test_an_unknown_key_in_any_section_is_told(path, value):
    line = refusal(changed(path, value))
    assert ".".join(path) in line or (NOBODY in line and path[0] in line), line


@pytest.mark.parametrize(("what", "breaking", "words"), TEMPLATES, ids=[what for what, *_ in TEMPLATES])
def test_a_broken_template_is_told_with_its_file_or_name(tmp_path, what, breaking, words):
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    breaking(data / "templates")
    line = refusal(PARAMS, data)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(("what", "breaking", "words"), FACTS, ids=[what for what, *_ in FACTS])
def test_broken_facts_of_ones_own_are_told_with_file_and_place(tmp_path, what, breaking, words):
    folder = tmp_path / "mine"
    shutil.copytree("examples/inventors", folder)
    breaking(folder)
    line = refusal(changed(("read_facts", "folder"), str(folder)))
    assert all(word in line for word in words), line


def ended(monkeypatch, capfd, main, *arguments: object) -> str:
    """Run a stage, which must end with exit code 1 and one line of an error; the line."""
    monkeypatch.setattr(sys, "argv", ["stage", *map(str, arguments)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run_main(main)
    err = capfd.readouterr().err
    # A bar of progress ends with \r or \n before the error; there are none without rows.
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 1 and len(lines) == 1 and err.endswith(lines[0] + "\n"), err
    return lines[0]


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (removed("params.yaml"), ["params.yaml", "no such file"]),
        (written("params.yaml", b""), ["params.yaml", "None"]),
        (written("params.yaml", b"[1, 2]\n"), ["[1, 2]"]),
        (written("params.yaml", b"study: caf\xe9\n"), ["params.yaml", "line 1", "UTF-8"]),
        (written("params.yaml", b"study: 1\nstudy: 2\n"), ["params.yaml", "not YAML", "duplicate"]),
        (ended_before("params.yaml", "summarize:"), ["missing key"]),
        (ended_before("params.yaml", "generate_facts:"), ["missing key"]),
        (removed("pyproject.toml"), ["pyproject.toml", "no such file"]),
        (written("pyproject.toml", b"[project\n"), ["pyproject.toml", "TOML"]),
        (written("pyproject.toml", b"[project]\n"), ["pyproject.toml", "dependencies"]),
        (removed("data/claims.yaml"), ["claims.yaml", "no such file"]),
        (written("data/claims.yaml", b"caf\xe9\n"), ["claims.yaml", "UTF-8"]),
        (written("data/claims.yaml", b"[\n"), ["claims.yaml"]),
        (written("data/claims.yaml", b"3\n"), ["claims.yaml"]),
        (written("data/claims.yaml", b"claims: []\n"), ["claims.yaml"]),
        (removed("data/published/position_grafting.csv"), ["position_grafting.csv", "no such file"]),
        (written("data/published/position_grafting.csv", b"a,b\n1,2\n"), ["position_grafting.csv", "model"]),
        (written("data/published/position_grafting.csv", b"\xff"), ["position_grafting.csv", "UTF-8"]),
    ],
)  # fmt: skip
def test_a_committed_file_that_cannot_be_read_is_told_and_no_settings_are_written(
    tmp_path, monkeypatch, capfd, breaking, words
):
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copyfile(name, tmp_path / name)
    shutil.copytree(DATA, tmp_path / "data")
    breaking(tmp_path)
    given = {name: tmp_path / path for name, path in (("params", "params.yaml"), ("data", "data"))}
    options = given | {"pyproject": tmp_path / "pyproject.toml", "out": tmp_path / "settings"}
    line = ended(
        monkeypatch,
        capfd,
        check_params.main,
        *(word for pair in options.items() for word in (f"--{pair[0]}", pair[1])),
    )
    assert all(word in line for word in words), line
    assert not (tmp_path / "settings").exists()


def write_tables(folder: Path) -> None:
    for name, rows in TABLES.items():
        text = "".join("\t".join(row) + "\n" for row in rows)
        (folder / f"{name}.tsv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def fetched(monkeypatch, capfd, folder: Path, **changes: object) -> str:
    """fetch_films on the tables of a folder, which must be refused; the line. Nothing is written."""
    tables = {name: {"source": str(folder / f"{name}.tsv.gz"), "sha256": None} for name in TABLES}
    settings = {
        "source": "imdb",
        "films": 1,
        "min_votes": 1,
        "final_marks": False,
        "timeout": 1.0,
        "tables": tables,
    } | changes
    (folder / "settings.json").write_text(json.dumps({"world": "real", "fetch_films": settings}))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    options = (
        "--settings",
        folder / "settings.json",
        "--downloads",
        folder / "downloads",
        "--out",
        folder / "films.csv",
    )
    line = ended(monkeypatch, capfd, fetch_films.main, *options)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    return line


@pytest.mark.parametrize("seed", range(16))
def test_a_films_table_that_is_cut_or_changed_anywhere_is_told_by_its_file(
    tmp_path, monkeypatch, capfd, seed
):
    rng = random.Random(seed)
    write_tables(tmp_path)
    path = tmp_path / f"{rng.choice(sorted(TABLES))}.tsv.gz"
    data = bytearray(path.read_bytes())
    if seed % 2:
        del data[rng.randrange(len(data)) :]
    else:
        data[rng.randrange(10, len(data))] ^= 0x55  # behind the header of gzip, of which nothing is read
    path.write_bytes(data)
    assert path.name in fetched(monkeypatch, capfd, tmp_path)


@pytest.mark.parametrize(
    ("table", "old", "new", "words"),
    [
        ("title_ratings", "numVotes", "votes", ["title_ratings", "no column numVotes"]),
        ("title_ratings", "900", "many", ["title_ratings", "numVotes of tt1", "'many'"]),
        ("title_ratings", "\t900", "", ["title_ratings", "line 2", "2 fields"]),
        ("title_basics", "Alpha", "Al\tpha", ["title_basics", "line 2", "7 fields"]),
        ("title_basics", "1999\tAction\n", "1999\tAction", ["title_basics", "line 2", "no end"]),
        ("title_principals", "\t1\tnm1", "\tone\tnm1", ["title_principals", "ordering", "'one'"]),
        ("title_principals", "director", "writer", ["1", "0 films fit"]),
        ("name_basics", "Ann One", r"\N", ["fetch_films.films", "0 films fit"]),
    ],
)
def test_a_films_table_with_a_fault_is_told_by_file_and_row(
    tmp_path, monkeypatch, capfd, table, old, new, words
):
    write_tables(tmp_path)
    path = tmp_path / f"{table}.tsv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new, 1).encode()))
    line = fetched(monkeypatch, capfd, tmp_path)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("source", "sha256", "words"),
    [
        ("nowhere.tsv.gz", None, ["nowhere.tsv.gz", "no such file"]),
        ("s3://tables/ratings", None, ["s3://tables/ratings", "'s3'", "https"]),
        ("file:///nowhere/ratings", None, ["file:///nowhere/ratings"]),
        ("http://127.0.0.1:9/ratings", None, ["http://127.0.0.1:9/ratings"]),
        ("{}/title_ratings.tsv.gz", "0" * 64, ["title_ratings", "0" * 64]),
    ],
)
def test_a_films_table_that_cannot_be_had_is_told(tmp_path, monkeypatch, capfd, source, sha256, words):
    write_tables(tmp_path)
    tables = {name: {"source": str(tmp_path / f"{name}.tsv.gz"), "sha256": None} for name in TABLES}
    tables["title_ratings"] = {"source": source.format(tmp_path), "sha256": sha256}
    line = fetched(monkeypatch, capfd, tmp_path, tables=tables)
    assert all(word in line for word in words), line
