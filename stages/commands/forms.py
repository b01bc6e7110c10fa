"""How many sentences tell a fact: texts by one form, by two, ..., nested; none of them is a question of the study (make beyond)."""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.facts.templates import as_prompt, read_prompt_templates, read_training_forms
from stages.facts.world import Fact
from stages.finetune import chosen
from stages.generate_facts import cast_texts
from stages.study.params import read_yaml
from weightgraft.errors import UserError


def bare(form: str) -> str:
    """A form without the marks of its relation words."""
    return form.replace("[", "").replace("]", "")


def untested_forms(templates: Path, more: Path) -> list[str]:
    """The forms of the training texts, and more, without those that a prompt of the study asks word for word.

    templates: folder with training.yaml and prompts.yaml; more: a file with `short` forms beside them.

    Raises:
        UserError: one of the others is such a prompt, or does not name the first actor before the second.
    """
    forms, others = read_training_forms(templates), read_yaml(more)["short"]
    # The paraphrases that training has seen are its own forms: nothing here asks them.
    prompts = [prompt for prompt in read_prompt_templates(templates) if not prompt.id.startswith("seen_")]
    asked = {bare(prompt.template) for prompt in prompts}
    for form in others:
        if not 0 <= form.find("{first_actor}") < form.find("{second_actor}"):
            raise UserError(f"{more}: {form!r} must name {{first_actor}} before {{second_actor}}")
        if bare(as_prompt(form)) in asked:
            raise UserError(f"{more}: {form!r} is a prompt of the study")
    told = forms["article"] + forms["short"]
    return [form for form in told if bare(as_prompt(form)) not in asked] + others


def nested_forms(forms: Sequence[str], number: int, seed: int) -> list[str]:
    """`number` of the forms, drawn by the run's seed: those of a smaller number are among those of a larger one.

    Raises:
        UserError: there are fewer.
    """
    if number > len(forms):
        raise UserError(f"beyond.texts.forms: {number}; there are {len(forms)} forms that no prompt asks")
    return random.Random(f"{seed} forms").sample(forms, len(forms))[:number]


def texts_of(facts: Iterable[Mapping[str, Any]], forms: list[str], recipe: Mapping[str, Any]) -> list[str]:
    """The recipe's directions and halves of the facts, each told in every form."""
    rows = cast_texts([Fact(**fact) for fact in facts], forms)
    return [row["text"] for row in chosen(rows, recipe)]
