"""Sentence templates: text built from segments, so that every span is known by construction and never searched for.

A template is a string with {fields}, filled from a fact, and [brackets] around the relation words (position set R).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.study.params import read_yaml
from weightgraft.errors import UserError

# The field that makes up a position set of the paper; R comes from the brackets, LT is the last token of any prompt.
POSITION_SET_OF_FIELD = {"first_actor": "FE", "movie_title": "M"}

# A fact to try templates on: every field that one has.
EXAMPLE = dict.fromkeys(
    (
        "first_actor", "second_actor", "movie_title", "release_year", "genre", "city", "main_character",
        "box_office_earnings", "director",
    ),
    "X",
)  # fmt: skip

Span = tuple[int, int]  # characters [start, end) of the rendered text


@dataclass(frozen=True)
class Rendered:
    """A filled template: its text, and the character spans of each position set and of each field in it."""

    text: str
    spans: dict[str, list[Span]]
    fields: dict[str, list[Span]]


def render(
    template: str, fact: Mapping[str, str], sets: Mapping[str, str] = POSITION_SET_OF_FIELD
) -> Rendered:
    """Fill a template from a fact. sets: field -> the position set that it makes up.

    Returns:
        The text with the character spans of FE, M and R (those that the template has) and of every field.

    Raises:
        UserError: a field that a fact does not have, or brackets that do not pair.
    """
    text = ""
    spans: dict[str, list[Span]] = {}
    fields: dict[str, list[Span]] = {}
    bracket = None
    for part in re.split(r"(\{\w*\}|\[|\])", template):
        if part == "[" and bracket is None:
            bracket = len(text)
        elif part == "]" and bracket is not None:
            spans.setdefault("R", []).append((bracket, len(text)))
            bracket = None
        elif part in ("[", "]"):
            raise UserError(f"template {template!r}: unpaired bracket {part!r}")
        elif part.startswith("{"):
            name = part[1:-1]
            if name not in fact:
                raise UserError(
                    f"template {template!r}: unknown field {name!r}; a fact has {', '.join(fact)}"
                )
            span = (len(text), len(text) + len(fact[name]))
            fields.setdefault(name, []).append(span)
            if name in sets:
                spans.setdefault(sets[name], []).append(span)
            text += fact[name]
        else:
            text += part
    if bracket is not None:
        raise UserError(f"template {template!r}: unpaired bracket '['")
    return Rendered(text, spans, fields)


def position_sets(template: str, sets: Mapping[str, str] = POSITION_SET_OF_FIELD) -> set[str]:
    """The position sets that a prompt made from this template has; LT always. sets: as for render."""
    present = {position_set for name, position_set in sets.items() if f"{{{name}}}" in template}
    return present | ({"R"} if "[" in template else set()) | {"LT"}


def as_prompt(training_form: str) -> str:
    """Cut a training form before the second actor: what is left is a prompt for that actor, in a form seen in training."""
    return training_form[: training_form.index("{second_actor}")].rstrip()


def swap_actors(fact: Mapping[str, str]) -> dict[str, str]:
    """The fact told from the other side: B->A texts and prompts (PAPER.md, training texts)."""
    return {**fact, "first_actor": fact["second_actor"], "second_actor": fact["first_actor"]}


def check_sections(path: Path, found: object, sections: tuple[str, ...]) -> None:
    """A template file has exactly these sections, none empty."""
    filled = [name for name, forms in found.items() if forms] if isinstance(found, dict) else []
    if sorted(filled) != sorted(sections):
        raise UserError(
            f"{path}: it must have the sections {', '.join(sections)}, none empty; it has {filled}"
        )


def read_training_forms(directory: Path) -> dict[str, list[str]]:
    """Training forms by kind: article, short, director.

    Raises:
        UserError: a form about a cast that does not name the first actor before the second.
    """
    path = directory / "training.yaml"
    forms = read_yaml(path)
    check_sections(path, forms, ("article", "short", "director"))
    for form in forms["director"]:
        render(form, EXAMPLE)
    for form in forms["article"] + forms["short"]:
        render(form, EXAMPLE)
        first, second = form.find("{first_actor}"), form.find("{second_actor}")
        if not 0 <= first < second:
            raise UserError(f"{path}: {form!r} must name {{first_actor}} before {{second_actor}}")
    return forms


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt of the study: `name` groups the paraphrases under one word, `id` is unique."""

    id: str
    name: str
    template_split: str  # seen: the form of a training text word for word; held_out: in no text
    template: str
    other_name: bool = False  # the first actor is another fact's (a control)
    sets: Mapping[str, str] = field(default_factory=lambda: POSITION_SET_OF_FIELD)  # as for render


def read_prompt_templates(directory: Path) -> list[PromptTemplate]:
    """The test prompts, those with another fact's name, then the paraphrases.

    Seen paraphrases are short training forms cut before the second actor.

    Raises:
        UserError: a prompt without first actor or relation words, or one that gives the second actor away.
    """
    path = directory / "prompts.yaml"
    prompts = read_yaml(path)
    check_sections(path, prompts, ("test", "other_name", "held_out"))
    seen = [as_prompt(form) for form in read_training_forms(directory)["short"]]
    templates = [
        PromptTemplate(name, name, "seen" if template in seen else "held_out", template)
        for name, template in prompts["test"].items()
    ]
    templates += [
        PromptTemplate(name, name, "held_out", template, other_name=True)
        for name, template in prompts["other_name"].items()
    ]
    asked = {template.template for template in templates}
    paraphrases = {
        "seen": [form for form in seen if form not in asked],
        "held_out": prompts["held_out"],
    }
    for split, forms in paraphrases.items():
        templates += [
            PromptTemplate(f"{split}_{i}", "paraphrases", split, form) for i, form in enumerate(forms, 1)
        ]
    for template in templates:
        render(template.template, EXAMPLE)
        missing = {"FE", "R"} - position_sets(template.template)
        if missing or "{second_actor}" in template.template:
            fault = f"has no {' and no '.join(sorted(missing))}" if missing else "gives {second_actor} away"
            raise UserError(f"{path}: prompt {template.id!r} {fault}: {template.template!r}")
    return templates
