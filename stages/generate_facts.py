"""Stage generate_facts: the synthetic world, the bases' text about it, and texts and prompts for the three datasets."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from stages.facts.general_text import general_texts
from stages.facts.real import make_world
from stages.facts.templates import (
    PromptTemplate,
    as_prompt,
    read_prompt_templates,
    read_training_forms,
    render,
    swap_actors,
)
from stages.facts.world import Fact
from stages.frame.rows import write_jsonl
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from stages.study.params import read_yaml
from weightgraft.errors import UserError

DIRECTIONS = ("ab", "ba")
# What a base has read about casts: every form, or the articles only (new-form condition).
BASE_FORMS = ("all", "article")


def told(fact: Fact, direction: str) -> dict[str, str]:
    """The fact's fields, from the first actor's side (ab) or the second's (ba)."""
    fields = {key: str(value) for key, value in asdict(fact).items()}
    return fields if direction == "ab" else swap_actors(fields)


def cast_texts(facts: Iterable[Fact], forms: list[str]) -> list[dict]:
    """One row a training text about a cast: every form, both directions."""
    return [
        {
            "fact_id": fact.fact_id,
            "direction": direction,
            "half": fact.half,
            "form": i,
            "text": render(form, told(fact, direction)).text,
        }
        for fact in facts
        for direction in DIRECTIONS
        for i, form in enumerate(forms)
    ]


def base_texts(facts: Iterable[Fact], forms: Mapping[str, list[str]], base_forms: str) -> list[dict]:
    """What the bases read: casts in all forms, or in the articles' only (new-form condition), and directors."""
    cast_forms = forms["article"] + (forms["short"] if base_forms == "all" else [])
    facts = list(facts)
    return cast_texts(facts, cast_forms) + [
        {
            "fact_id": fact.fact_id,
            "direction": "director",
            "half": fact.half,
            "form": i,
            "text": render(form, told(fact, "ab")).text,
        }
        for fact in facts
        for i, form in enumerate(forms["director"])
    ]


def other_named(facts: Sequence[Fact], index: int, direction: str) -> dict[str, str]:
    """The fields of a fact with the two actors of another: the next one, going round, whose second actor begins with
    another letter, so that the two answers begin with different tokens.

    Raises:
        UserError: the second actors of all facts begin with the same letter.
    """
    fields = told(facts[index], direction)
    for step in range(1, len(facts)):
        other = told(facts[(index + step) % len(facts)], direction)
        if other["second_actor"][0] != fields["second_actor"][0]:
            return fields | {key: other[key] for key in ("first_actor", "second_actor")}
    raise UserError(
        f"{len(facts)} facts: no fact's answer begins with another letter than fact {facts[index].fact_id}'s; more are needed "
        "(generate_facts.facts, generate_facts.base_facts)"
    )


def prompt_rows(facts: Sequence[Fact], templates: list[PromptTemplate]) -> list[dict]:
    """One row a prompt: text, target (the co-star of the actor named in it, after a space), and exact character spans of
    FE, M and R in the text and of the target's name behind it. Where the actor is another fact's, `foil` is the co-star
    that the title would ask for.
    """
    rows = []
    for index, fact in enumerate(facts):
        for direction in DIRECTIONS:
            own = told(fact, direction)
            for template in templates:
                fields = other_named(facts, index, direction) if template.other_name else own
                target = " " + fields["second_actor"]
                rendered = render(template.template, fields)
                rows.append(
                    {
                        "fact_id": fact.fact_id,
                        "direction": direction,
                        "half": fact.half,
                        "prompt": template.name,
                        "template": template.id,
                        "template_split": template.template_split,
                        "text": rendered.text,
                        "target": target,
                        "target_span": [len(rendered.text) + 1, len(rendered.text) + len(target)],
                        "spans": rendered.spans,
                    }
                    | ({"foil": " " + own["second_actor"]} if template.other_name else {})
                )
    return rows


def recall_templates(forms: Mapping[str, list[str]], base_forms: str) -> list[PromptTemplate]:
    """Prompts about the bases' own casts, in every form that they have read: do they know their world?"""
    kinds = ("article", "short") if base_forms == "all" else ("article",)
    return [
        PromptTemplate(f"{kind}_{i}", kind, "seen", as_prompt(form))
        for kind in kinds
        for i, form in enumerate(forms[kind], 1)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=Path, required=True, help="what check_params cut out of params.yaml"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with words.yaml and templates/")
    parser.add_argument(
        "--films", type=Path, required=True, help="films table of fetch_films, for generate_facts.world: real"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for facts, texts and prompts")
    args = parser.parse_args()
    params = read_settings(args.settings)["generate_facts"]

    forms = read_training_forms(args.data / "templates")
    templates = read_prompt_templates(args.data / "templates")
    world = make_world(params, read_yaml(args.data / "words.yaml"), args.films)

    for base_forms in BASE_FORMS:
        write_jsonl(args.out / f"texts/base_{base_forms}.jsonl", base_texts(world.base, forms, base_forms))
        recall = prompt_rows(world.base, recall_templates(forms, base_forms))
        write_jsonl(args.out / f"recall/{base_forms}.jsonl", recall)
    if general := params["general"]:
        texts = general_texts(general["source"], general["texts"])
        write_jsonl(args.out / "texts/general.jsonl", [{"text": text} for text in texts])
    for name, facts in world.datasets.items():
        write_jsonl(args.out / f"texts/{name}.jsonl", cast_texts(facts, forms["article"] + forms["short"]))
    for name, facts in {"base": world.base, **world.datasets}.items():
        write_jsonl(args.out / f"facts/{name}.jsonl", [asdict(fact) for fact in facts])
        write_jsonl(args.out / f"prompts/{name}.jsonl", prompt_rows(facts, templates))
    print(
        f"generate_facts: {len(world.base)} base facts and {len(world.datasets)} datasets of {params['facts']} facts, "
        f"{len(templates)} prompts a fact and direction, in {args.out}"
    )


if __name__ == "__main__":
    run_stage(main)
