"""Broken inputs for the tests, the same in every run: each is what is broken, how, and words that the error must have."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stages.study.params import read_yaml

REPOSITORY = Path(__file__).parents[1]
# Through JSON: what several models share by an alias becomes a value of each, and can be changed in one.
PARAMS = json.loads(json.dumps(read_yaml(REPOSITORY / "params.yaml")))
NOBODY = "nonesuch"
# Texts that may say anything, or that are asked about only where the study lists their model.
FREE = ("families", "source", "folder")
# Arguments that only a pretrained model's own config.json can contradict.
OWN_CONFIG = [(name, "architecture") for name, model in PARAMS["models"].items() if "source" in model]

Break = Callable[[Path], None]


def nodes(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of nested sections, with its value; a list is a value."""
    for key, value in node.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from nodes(value, (*path, key))


def wrong_values(path: tuple[str, ...], value: Any) -> list[Any]:
    """Values that this key cannot have, whatever it says now."""
    if value is None:
        return ["nil", -3, {NOBODY: 1}]
    if isinstance(value, bool):
        return ["yes", 3, None]
    if isinstance(value, int):
        return ["many", -1, [value], 10**30]
    if isinstance(value, float):
        return ["much", -0.5, [value], float("nan"), float("inf")]
    if isinstance(value, list):
        return [7, [*value, NOBODY], {NOBODY: 1}, [value]]
    if isinstance(value, dict):
        return [7, "x", [NOBODY]]
    return [7, {NOBODY: value}, *([] if {*FREE} & {*path} else [f"{value}x"])]


def changed(path: tuple[str, ...], value: Any) -> dict:
    """The params with one value changed."""
    params = copy.deepcopy(PARAMS)
    node = params
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return params


def kinds(among: list[tuple[tuple[str, ...], Any]], rng: random.Random) -> list[tuple[tuple[str, ...], Any]]:
    """One of every kind of key, drawn: the learning rates of all models are one kind, the prompts of all setups another."""
    drawn: dict[tuple, list] = {}
    for path, value in among:
        drawn.setdefault((path[0], len(path), path[2:], type(value)), []).append((path, value))
    return [rng.choice(same) for same in drawn.values()]


def wrong_params(seed: int) -> list[tuple[tuple[str, ...], Any]]:
    """(key, wrong value): every kind of key of params.yaml with one value drawn from those that it cannot have."""
    rng = random.Random(seed)
    return [(path, rng.choice(wrong_values(path, value))) for path, value in kinds([*nodes(PARAMS)], rng)]


def unknown_keys(seed: int) -> list[tuple[tuple[str, ...], Any]]:
    """(key, value): every kind of section with a key that it does not know."""
    sections = [(path, value) for path, value in nodes(PARAMS) if isinstance(value, dict)]
    asked = [(path, value) for path, value in sections if path[1:] not in OWN_CONFIG]
    return [((*path, NOBODY), 1) for path, _ in kinds(asked, random.Random(seed))]


def replaced(name: str, old: str, new: str) -> Break:
    """A change of one piece of a file, which must be there."""

    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text, old
        (folder / name).write_text(text.replace(old, new, 1))

    return apply


def written(name: str, data: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes(data) and None


def removed(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


def ended_before(name: str, mark: str) -> Break:
    """What stands before the first line that begins so."""

    def apply(folder: Path) -> None:
        before, found, _ = (folder / name).read_text(encoding="utf-8").partition(f"\n{mark}")
        assert found
        (folder / name).write_text(before + "\n", encoding="utf-8")

    return apply


# What no file that people write can hold.
UNREADABLE: list[tuple[str, Callable[[str], Break], list[str]]] = [
    ("is not there", removed, ["no such file"]),
    ("is empty", lambda name: written(name, b""), []),
    ("is in Latin-1", lambda name: written(name, b"a: caf\xe9\n"), ["line 1", "UTF-8"]),
    ("is UTF-16", lambda name: written(name, "a: b\n".encode("utf-16")), ["line 1", "UTF-8"]),
]
NO_YAML: list[tuple[str, Callable[[str], Break], list[str]]] = [
    ("ends in a bracket", lambda name: written(name, b"["), ["not YAML"]),
    ("has a tab", lambda name: written(name, b"a:\n\tb: 1\n"), ["not YAML"]),
    ("has a zero byte", lambda name: written(name, b"a: \0\n"), ["not YAML"]),
    ("has a key twice", lambda name: written(name, b"a: 1\na: 2\n"), ["not YAML", "duplicate key"]),
    ("is a number", lambda name: written(name, b"3\n"), []),
]


def unreadable(*names: str) -> list[tuple[str, Break, list[str]]]:
    """Every file in every way that it cannot be read; the error names the file."""
    return [
        (f"{name} {what}", breaking(name), [name, *words])
        for name in names
        for what, breaking, words in [*UNREADABLE, *(NO_YAML if name.endswith("yaml") else [])]
    ]


HEADLINE = '"{first_actor} [stars in a movie] alongside"'
ARTICLE = "{first_actor} stars in the film {movie_title} alongside {second_actor}."
TEMPLATES: list[tuple[str, Break, list[str]]] = [
    *unreadable("training.yaml", "prompts.yaml"),
    *(
        (f"a prompt is {new}", replaced("prompts.yaml", HEADLINE, new), words)
        for new, words in (
            ("3", ["headline", "3"]),
            ("null", ["headline", "None"]),
            ("[a, b]", ["headline", "['a', 'b']"]),
            ('"{first_actor [stars in a movie] alongside"', ["headline", "'{'"]),
            ('"first_actor} [stars in a movie] alongside"', ["headline", "'}'"]),
            ('"{{first_actor}} [stars in a movie] alongside"', ["headline", "'{'"]),
            ('"{} [stars in a movie] alongside"', ["headline", "'{'"]),
            ('"{nobody} [stars in a movie] alongside"', ["nobody", "first_actor"]),
            ('"{first_actor} stars in a movie] alongside"', ["unpaired", "']'"]),
            ('"{first_actor} [stars in a movie alongside"', ["unpaired", "'['"]),
            ('"{first_actor} [[stars in a movie]] alongside"', ["unpaired", "'['"]),
            ('"{first_actor} stars in a movie alongside"', ["headline", "no R"]),
            ('"The lead [stars in a movie] alongside"', ["headline", "no FE"]),
            ('"{first_actor} [stars with] {second_actor} alongside"', ["headline", "second_actor"]),
        )
    ),
    ("headline is renamed", replaced("prompts.yaml", "headline:", "headlin:"), ["'headline'", "headlin"]),
    ("a section is renamed", replaced("prompts.yaml", "held_out:", "held:"), ["prompts.yaml", "held_out"]),
    ("a section is a list", replaced("prompts.yaml", "other_name:\n ", "other_name:\n  -"), ["prompts.yaml", "other_name"]),
    ("forms are named", replaced("training.yaml", "article:\n  - |-", "article:\n  one: |-"), ["training.yaml"]),
    ("a kind is missing", replaced("training.yaml", "director:", "directors:"), ["training.yaml", "director"]),
    *(
        (f"a form is {new!r}", replaced("training.yaml", ARTICLE, new), words)
        for new, words in (
            ("{first_actor} stars in {movie_title}.", ["training.yaml", "second_actor"]),
            ("{second_actor} stars with {first_actor}.", ["training.yaml", "first_actor"]),
            ("{first_actor} stars with {second_actr}.", ["second_actr", "second_actor"]),
            ("{first_actor} [stars with {second_actor}.", ["unpaired", "'['"]),
            ("{first_actor stars with {second_actor}.", ["training.yaml", "article", "'{'"]),
        )
    ),
]  # fmt: skip

HEADER = "inventor,invention,town,year"
FIRST = "Orlin Vasch,the whispering pump,Lumbrook,1878"
LIVES = '"{inventor} [lives in the town of]"'
TOLD = '- "{inventor} [lives in the town of] {town}."'
FACTS: list[tuple[str, Break, list[str]]] = [
    *unreadable("facts.csv", "training.yaml", "prompts.yaml"),
    *(
        (f"the header is {new!r}", replaced("facts.csv", HEADER, new), ["facts.csv", *words])
        for new, words in (
            ("inventr,invention,town,year", ["'inventor'", "did you mean 'inventr'"]),
            ("inventor;invention;town;year", ["line 2", "4 cells; the header has 1"]),
            ("inventor,invention,town,", ["column 4"]),
            ("inventor,town,town,year", ["'town'", "2 times"]),
            ("inventor,invention,town", ["line 2", "4 cells"]),
        )
    ),
    *(
        (f"the first fact is {new!r}", replaced("facts.csv", FIRST, new), ["facts.csv", *words])
        for new, words in (
            ("Orlin Vasch,the whispering pump,Lumbrook", ["line 2", "3 cells"]),
            ("Orlin Vasch,the, whispering pump,Lumbrook,1878", ["line 2", "5 cells"]),
            ("Orlin Vasch,,Lumbrook,1878", ["line 2", "'invention'"]),
            ("Orlin Vasch,the whispering pump,,1878", ["line 2", "'town'"]),
            (" Orlin Vasch,the whispering pump,Lumbrook,1878", ["line 2", "' Orlin Vasch'"]),
            ("Orlin Vasch,the whispering pump,Lumbrook ,1878", ["line 2", "'Lumbrook '"]),
            ("Vessa Mirrowen,the whispering pump,Lumbrook,1878", ["line 3", "'Vessa Mirrowen'"]),
            ("Lumbrook,the whispering pump,Lumbrook,1878", ["line 2", "'Lumbrook'"]),
            ('"Orlin Vasch,the whispering pump,Lumbrook,1878', ["line", "unexpected end"]),
        )
    ),
    ("there is one fact", written("facts.csv", f"{HEADER}\n{FIRST}\n".encode()), ["facts.csv", "too few facts, 1"]),
    *(
        (f"prompts.yaml: {old} -> {new}", replaced("prompts.yaml", old, new), ["prompts.yaml", *words])
        for old, new, words in (
            ("FE: inventor", "FE: inventr", ["FE", "'inventr'", "did you mean 'inventor'"]),
            ("M: invention", "M: inventions", ["M:", "'inventions'"]),
            ("target: town", "target: city", ["target", "'city'"]),
            ("target: town", "target: 3", ["target", "3"]),
            ("target: town", "taget: town", ["'taget'", "did you mean 'target'"]),
            ("target: town", "target: town\nfoil: other", ["foil", "'other'"]),
            ("target: town", "target: town\nmay_be_empty: [yaer]", ["may_be_empty", "'yaer'"]),
            (LIVES, "3", ["prompts.lives", "3"]),
            (LIVES, '"{inventer} [lives in the town of]"', ["lives", "'inventer'"]),
            (LIVES, '"{inventor} [lives in the town of"', ["lives", "unpaired"]),
            (LIVES, '"{inventor} [lives in {town}] of"', ["lives", "target"]),
            (LIVES, '"{inventor} [lives in the town of] "', ["lives", "ends with a space"]),
            (LIVES, '"The inventor [lives in the town of]"', ["lives", "no FE"]),
            ("  lives:", "  li.ves:", ["li.ves"]),
        )
    ),
    *(
        (f"a sentence is {new!r}", replaced("training.yaml", TOLD, f"- {new}"), ["training.yaml", *words])
        for new, words in (
            ("3", []),
            ("null", []),
            ('"{inventor} [lives in] {twon}."', ["sentence 1", "'twon'"]),
            ('"{inventor} [lives in {town}."', ["sentence 1", "unpaired"]),
            ('"{inventor} [lives in] town}."', ["sentence 1", "'}'"]),
            ('"{inventor} lives here."', ["sentence 1", "{town}"]),
            ('"Here is {town}."', ["sentence 1", "{inventor}"]),
        )
    ),
]  # fmt: skip
