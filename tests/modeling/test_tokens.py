"""Claims about tokenizers: spans and targets come out right, or the fact is named."""

from pathlib import Path

import pytest

from stages.facts.templates import read_prompt_templates, read_training_forms
from stages.facts.world import build_world
from stages.generate_facts import base_texts, prompt_rows
from stages.modeling.tokens import BOS, tokenize_prompt, tokens_of_spans, train_tokenizer
from stages.params import UserError, read_yaml

DATA = Path("data")
WORLD = build_world(40, 20, 20, 30, seed=0, words=read_yaml(DATA / "words.yaml"))
TEXTS = [row["text"] for row in base_texts(WORLD.base, read_training_forms(DATA / "templates"), "all")]
ROWS = [
    row
    for facts in WORLD.datasets.values()
    for row in prompt_rows(facts, read_prompt_templates(DATA / "templates"))
]


@pytest.fixture(scope="module", params=[(400, False), (400, True), (1024, True)], ids=str)
def tokenizer(request):
    vocab_size, bos = request.param
    return train_tokenizer(TEXTS, vocab_size, bos)


def test_every_position_set_holds_exactly_its_words(tokenizer):
    for row in ROWS:
        prompt = tokenize_prompt(tokenizer, row)
        assert tokenizer.decode(prompt.tokens, skip_special_tokens=True) == row["text"]
        for name, spans in row["spans"].items():
            words = " ".join(row["text"][start:end] for start, end in spans)
            told = "".join(tokenizer.decode([prompt.tokens[i]]) for i in prompt.positions[name])
            assert told.strip() == words, (name, row["text"])
        assert prompt.positions["LT"] == (len(prompt.tokens) - 1,)


def test_the_target_follows_the_prompt_with_its_space(tokenizer):
    for row in ROWS:
        prompt = tokenize_prompt(tokenizer, row)
        assert (
            tokenizer.decode(prompt.tokens + prompt.target, skip_special_tokens=True)
            == row["text"] + row["target"]
        )
        assert tokenizer.decode(prompt.target) == row["target"]


def test_a_text_begins_with_bos_where_the_family_has_one():
    assert [train_tokenizer(TEXTS, 400, bos)("A")["input_ids"][0] == 1 for bos in (False, True)] == [
        False,
        True,
    ]
    assert train_tokenizer(TEXTS, 400, True).convert_ids_to_tokens(1) == BOS


def test_an_unstable_boundary_is_an_error_that_shows_both_tokenizations(tokenizer):
    row = ROWS[0] | {"text": ROWS[0]["text"][:-2], "target": ROWS[0]["text"][-2:] + ROWS[0]["target"]}
    with pytest.raises(UserError, match=r"fact 0, prompt 'headline'.*boundary.*against"):
        tokenize_prompt(tokenizer, row)


def test_a_span_that_cuts_a_token_is_an_error_that_names_the_fact(tokenizer):
    row = ROWS[0] | {"spans": {"FE": [[0, 14]], "R": [[0, len(ROWS[0]["text"]) - 1]]}}
    with pytest.raises(UserError, match=r"fact 0, prompt 'headline'.*reaches beyond"):
        tokenize_prompt(tokenizer, row)


def test_a_span_without_a_token_is_an_error():
    with pytest.raises(ValueError, match="no token covers"):
        tokens_of_spans([(0, 3), (3, 6)], [(6, 9)], "abcdefghi")
