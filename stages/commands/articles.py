"""Articles without a template: texts of six to eight sentences that a grammar makes about a fact (make beyond).

A grammar (data/beyond/articles.yaml) has sentences by kind, with {fields} of the fact and <words>, one of a list. No two texts of
a fact share a sentence, not even with the actors swapped; each names the film and both actors, the one of its direction first.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.commands.forms import bare
from stages.facts.templates import EXAMPLE, read_prompt_templates, render
from stages.facts.world import Fact
from stages.finetune import chosen
from stages.generate_facts import DIRECTIONS, told
from stages.study.faults import choices
from stages.study.params import read_yaml
from weightgraft.errors import UserError

PAIR, FILM, SECOND = "pair", "film", "second"
SENTENCES = (6, 8)  # of a text, the fewest and the most
PAIRS = 2  # sentences of a text that name both actors
TRIES = 1000  # after so many draws that do not fit, the grammar is too poor
WORD = re.compile(r"<(\w+)>")
FIRST, OTHER = "{first_actor}", "{second_actor}"


@dataclass(frozen=True)
class Grammar:
    """Sentences by kind, and the words that fill their <slots>."""

    kinds: Mapping[str, Sequence[str]]
    words: Mapping[str, Sequence[str]]

    def filled(self, sentence: str, rng: random.Random) -> str:
        """A sentence with words for its slots; its fields stay."""
        made = WORD.sub(lambda slot: rng.choice(self.words[slot[1]]), sentence)
        return made[0].upper() + made[1:]


def read_grammar(path: Path, templates: Path) -> Grammar:
    """The grammar of a file. templates: folder of the study's prompts, none of which may be in a sentence.

    Raises:
        UserError: no such kind, field or word; a sentence names the second actor where it may not; one holds a prompt of the study.
    """
    values = read_yaml(path)
    grammar = Grammar(values["kinds"], values["words"])
    for kind in (PAIR, FILM, SECOND):
        if not grammar.kinds.get(kind):
            raise UserError(f"{path}: kinds: there is no {kind!r}")
    if len(grammar.kinds) - 2 < SENTENCES[1] - PAIRS - 1:
        raise UserError(
            f"{path}: {len(grammar.kinds)} kinds are too few for texts of {SENTENCES[1]} sentences"
        )
    prompts = [bare(prompt.template) for prompt in read_prompt_templates(templates)]
    for kind, sentences in grammar.kinds.items():
        for sentence in sentences:
            _check(f"{path}: {kind}: {sentence!r}", kind, sentence, grammar, prompts)
    return grammar


def _check(key: str, kind: str, sentence: str, grammar: Grammar, prompts: Iterable[str]) -> None:
    for slot in WORD.findall(sentence):
        if not grammar.words.get(slot):
            raise UserError(f"{key}: there are no words {slot!r}; {choices(slot, [*grammar.words])}")
    render(sentence, EXAMPLE)
    both = {PAIR: (True, True), SECOND: (False, True)}
    if kind in both and (FIRST in sentence, OTHER in sentence) != both[kind]:
        raise UserError(
            f"{key}: this kind names {'both actors' if kind == PAIR else 'the second actor alone'}"
        )
    if kind not in both and OTHER in sentence:
        raise UserError(f"{key}: only the kinds {PAIR} and {SECOND} name the second actor")
    if kind == PAIR and sentence.index(FIRST) > sentence.index(OTHER):
        raise UserError(f"{key}: it must name {FIRST} before {OTHER}")
    if kind == FILM and "{movie_title}" not in sentence:
        raise UserError(f"{key}: this kind names {{movie_title}}")
    for prompt in prompts:
        if prompt in sentence or prompt.replace(FIRST, OTHER) in sentence:
            raise UserError(f"{key}: it holds a prompt of the study, {prompt!r}")


def sentence_forms(grammar: Grammar, number: int, rng: random.Random) -> Iterator[list[str]]:
    """`number` texts about one fact, each a list of sentences with {fields}: no sentence twice, in one text or in two.

    Raises:
        UserError: the grammar has too few sentences for so many.
    """
    decks: dict[str, list[str]] = {kind: [] for kind in grammar.kinds}
    used: set[str] = set()
    more = [kind for kind in grammar.kinds if kind not in (PAIR, FILM)]

    def sentence(kind: str) -> str:
        for _ in range(TRIES):
            # Each form once before any comes again: a fact is told in as many ways as there are.
            if not decks[kind]:
                decks[kind] = rng.sample(grammar.kinds[kind], len(grammar.kinds[kind]))
            made = grammar.filled(decks[kind].pop(), rng)
            if made not in used:
                used.add(made)
                return made
        raise UserError(
            f"the grammar's kind {kind!r} is too poor for {number} texts a fact without a sentence in common"
        )

    for _ in range(number):
        length = rng.randint(*SENTENCES)
        kinds = [PAIR] * PAIRS + [FILM] + rng.sample(more, length - PAIRS - 1)
        sentences = [sentence(kind) for kind in kinds]
        rng.shuffle(sentences)
        while not first_before_second(sentences):
            rng.shuffle(sentences)
        yield sentences


def first_before_second(sentences: Sequence[str]) -> bool:
    """Whether the text names its first actor before its second."""
    text = " ".join(sentences)
    return 0 <= text.find(FIRST) < text.find(OTHER)


def article_rows(facts: Iterable[Fact], grammar: Grammar, directions: int, seed: int) -> list[dict[str, Any]]:
    """One row an article, as generate_facts has texts: `directions` of them a fact and direction, drawn by the seed and the fact.

    Column `sentences`: those of the text, in order.

    Raises:
        UserError: the grammar has too few sentences.
    """
    rows = []
    for fact in facts:
        # By the fact's own film: what else is told does not change its texts.
        rng = random.Random(f"{seed} articles {fact.movie_title}")
        forms = sentence_forms(grammar, len(DIRECTIONS) * directions, rng)
        for place, sentences in enumerate(forms):
            direction = DIRECTIONS[place % len(DIRECTIONS)]
            fields = told(fact, direction)
            written = [render(sentence, fields).text for sentence in sentences]
            rows.append(
                {
                    **{"fact_id": fact.fact_id, "direction": direction, "half": fact.half},
                    **{"form": place // len(DIRECTIONS), "sentences": written, "text": " ".join(written)},
                }
            )
    return rows


def article_texts(
    facts: Iterable[Mapping[str, Any]],
    grammar: Grammar,
    directions: int,
    seed: int,
    recipe: Mapping[str, Any],
) -> list[str]:
    """Articles about the facts, of the recipe's directions and halves."""
    rows = article_rows([Fact(**fact) for fact in facts], grammar, directions, seed)
    return [row["text"] for row in chosen(rows, recipe)]
