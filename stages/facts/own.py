"""Facts of your own, of any relation: a folder of three files, made into the same rows as generate_facts makes of its world.

facts.csv: a header of free column names, then one fact a row. training.yaml: a list of sentences with {column} fields, each of
which tells the fact. prompts.yaml: which columns are the subject (FE) and the target, and the prompts (OwnPrompts has its keys).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from stages.facts.sheets import Fact, read_csv, yaml_of
from stages.facts.templates import PromptTemplate, position_sets, render
from stages.study.faults import Section, choices, parsed
from stages.study.schema import Name
from weightgraft.errors import UserError

FACTS, TRAINING, PROMPTS = "facts.csv", "training.yaml", "prompts.yaml"


class OwnPrompts(Section):
    """prompts.yaml. FE, M, target, foil name columns."""

    FE: str
    M: str | None = None
    target: str
    foil: str | None = None  # a wrong answer; without it the foil is another fact's target
    may_be_empty: list[str] = Field(default_factory=list)  # columns that are pieces of a sentence
    prompts: Annotated[dict[Name, str], Field(min_length=1)]


@dataclass(frozen=True)
class OwnFacts:
    """What a folder says. sentences: (direction, template); ab names FE before the target, ba the target before FE."""

    folder: Path
    facts: list[Fact]
    sentences: list[tuple[str, str]]
    prompts: list[PromptTemplate]
    asked: OwnPrompts

    @property
    def directions(self) -> set[str]:
        return {direction for direction, _ in self.sentences}


def read_own(folder: Path) -> OwnFacts:
    """Read a folder of facts and check everything that can be told without a tokenizer.

    Raises:
        UserError: the first fault, in one line that names the file, and the line and column or the template.
    """
    if not folder.is_dir():
        raise UserError(f"read_facts.folder: {folder}: no such folder")
    asked = read_asked(folder / PROMPTS)
    header, facts = read_csv(folder / FACTS)
    for key, column in (("FE", asked.FE), ("M", asked.M), ("target", asked.target), ("foil", asked.foil)):
        if column is not None and column not in header:
            raise UserError(f"{folder / PROMPTS}: {key}: {no_column(column, header)}")
    for column in asked.may_be_empty:
        if column not in header:
            raise UserError(f"{folder / PROMPTS}: may_be_empty: {no_column(column, header)}")
    check_cells(folder / FACTS, facts, asked)
    sentences = read_sentences(folder / TRAINING, header, asked)
    own = OwnFacts(folder, facts, sentences, prompt_templates(folder, header, asked, sentences), asked)
    prompt_rows(own)  # its faults show only in the filled prompts
    return own


def no_column(column: str, header: list[str]) -> str:
    hint = " (cells are parted by commas)" if len(header) == 1 else ""
    return f"no column {column!r} in the first line of {FACTS}; {choices(column, header)}{hint}"


def read_asked(path: Path) -> OwnPrompts:
    values = yaml_of(path)
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: it must have the keys {', '.join(OwnPrompts.model_fields)}; it holds {values!r}"
        )
    try:
        return parsed(OwnPrompts, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def check_cells(path: Path, facts: list[Fact], asked: OwnPrompts) -> None:
    """No cell is empty but where it may be; what makes up a span, or follows a prompt, has no space around it; the targets do not
    all begin alike, so that every fact has a foil."""
    for fact in facts:
        for column, cell in fact.cells.items():
            if not cell.strip() and column not in asked.may_be_empty:
                raise UserError(f"{path}, line {fact.line}: column {column!r} is empty")
            if cell != cell.strip() and column in (asked.FE, asked.M, asked.target, asked.foil):
                raise UserError(
                    f"{path}, line {fact.line}: column {column!r}: {cell!r} begins or ends with a space"
                )
    first = {fact.cells[asked.target][:1] for fact in facts}
    if asked.foil is None and len(first) < 2:
        raise UserError(
            f"{path}: every {asked.target} begins with {first.pop()!r}: no fact can be another's foil; "
            f"other targets are needed, or a column of wrong answers (foil, in {PROMPTS})"
        )


def check_template(where: str, template: str, header: list[str]) -> None:
    """Its fields are columns and its brackets pair.

    Raises:
        UserError: they are not; `where` names the file and the template.
    """
    if braces := re.search(r"[{}]", re.sub(r"\{\w+\}", "", template)):
        raise UserError(
            f"{where}: {braces[0]!r} is of no {{column}}, whose name has letters, digits and _: {template!r}"
        )
    for column in re.findall(r"\{(\w+)\}", template):
        if column not in header:
            raise UserError(f"{where}: {no_column(column, header)}: {template!r}")
    try:
        render(template, dict.fromkeys(header, "X"))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def read_sentences(path: Path, header: list[str], asked: OwnPrompts) -> list[tuple[str, str]]:
    """(direction, sentence) of every sentence of training.yaml."""
    values = yaml_of(path)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise UserError(f"{path}: a list of sentences with {{column}} fields is needed")
    sentences = []
    for number, sentence in enumerate(values, 1):
        check_template(f"{path}: sentence {number}", sentence, header)
        subject, target = sentence.find(f"{{{asked.FE}}}"), sentence.find(f"{{{asked.target}}}")
        if min(subject, target) < 0:
            missing = asked.FE if subject < 0 else asked.target
            raise UserError(
                f"{path}: sentence {number} does not tell the fact: it has no {{{missing}}}: {sentence!r}"
            )
        sentences.append(("ab" if subject < target else "ba", sentence))
    return sentences


def words_of(template: str) -> str:
    """A template without the brackets of its relation words."""
    return re.sub(r"[\[\]]", "", template)


def prompt_templates(
    folder: Path, header: list[str], asked: OwnPrompts, sentences: list[tuple[str, str]]
) -> list[PromptTemplate]:
    """The prompts; one that stands before the target in a training sentence, word for word, is `seen`, another `held_out`."""
    sets = {asked.FE: "FE"} | ({asked.M: "M"} if asked.M is not None else {})
    told = [words_of(sentence) for _, sentence in sentences]
    templates = []
    for name, prompt in asked.prompts.items():
        where = f"{folder / PROMPTS}: prompt {name!r}"
        check_template(where, prompt, header)
        if "FE" not in position_sets(prompt, sets):
            raise UserError(f"{where} has no FE, {{{asked.FE}}}: {prompt!r}")
        for key, column in (("target", asked.target), ("foil", asked.foil)):
            if column is not None and f"{{{column}}}" in prompt:
                raise UserError(f"{where} gives the {key}, {{{column}}}, away: {prompt!r}")
        if prompt != prompt.rstrip():
            raise UserError(f"{where} ends with a space; the target brings its own: {prompt!r}")
        asks = f"{words_of(prompt)} {{{asked.target}}}"
        split = "seen" if any(asks in sentence for sentence in told) else "held_out"
        templates.append(PromptTemplate(name, name, split, prompt, sets=sets))
    return templates


def half_of(fact_id: int) -> str:
    """Halves alternate, as in the study's other datasets."""
    return "ab"[fact_id % 2]


def text_rows(own: OwnFacts) -> list[dict]:
    """One row a training text: every fact in every sentence."""
    return [
        {
            "fact_id": i,
            "direction": direction,
            "half": half_of(i),
            "form": form,
            "text": render(sentence, fact.cells).text,
        }
        for i, fact in enumerate(own.facts)
        for form, (direction, sentence) in enumerate(own.sentences)
    ]


def gives_away(prompt: str, target: str) -> bool:
    """Whether the target's words are in the prompt."""
    return target in prompt and re.search(rf"(?<!\w){re.escape(target)}(?!\w)", prompt) is not None


def prompt_rows(own: OwnFacts) -> list[dict]:
    """One row a prompt, all of direction ab: text, target after a space, and exact character spans, as generate_facts writes them.

    Raises:
        UserError: a prompt has the target in it, ends with a space in some fact, or is the same for two facts.
    """
    rows: list[dict] = []
    path, asked, lines = own.folder / FACTS, own.asked, [fact.line for fact in own.facts]
    for i, fact in enumerate(own.facts):
        target = fact.cells[asked.target]
        for template in own.prompts:
            rendered = render(template.template, fact.cells, template.sets)
            text = rendered.text
            if gives_away(text, target):
                raise UserError(
                    f"{path}, line {fact.line}: {asked.target} {target!r} is in prompt {template.name!r} itself: {text!r}"
                )
            if text != text.rstrip():
                raise UserError(
                    f"{path}, line {fact.line}: prompt {template.name!r} ends with a space: {text!r}"
                )
            rows.append(
                {
                    "fact_id": i,
                    "direction": "ab",
                    "half": half_of(i),
                    "prompt": template.name,
                    "template": template.id,
                    "template_split": template.template_split,
                    "text": text,
                    "target": f" {target}",
                    "target_span": [len(text) + 1, len(text) + 1 + len(target)],
                    "spans": rendered.spans,
                }
                | ({"foil": f" {fact.cells[asked.foil]}"} if asked.foil else {})
            )
    by_text = sorted(rows, key=lambda row: (row["prompt"], row["text"], row["fact_id"]))
    for one, other in pairwise(by_text):
        if (one["prompt"], one["text"]) == (other["prompt"], other["text"]):
            subject = own.facts[other["fact_id"]].cells[asked.FE]
            raise UserError(
                f"{path}, line {lines[other['fact_id']]}: {asked.FE} {subject!r} is in line {lines[one['fact_id']]}, too: "
                f"prompt {one['prompt']!r} cannot tell the two facts apart: {one['text']!r}"
            )
    return rows


def fact_rows(own: OwnFacts) -> list[Mapping[str, Any]]:
    """One row a fact, with the line of facts.csv that it is from."""
    return [
        {"fact_id": i, "half": half_of(i), "line": fact.line, "cells": fact.cells}
        for i, fact in enumerate(own.facts)
    ]
