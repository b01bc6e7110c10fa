"""Claims about tokenizers: spans and targets come out right, or the fact is named."""

from pathlib import Path

import pytest

from stages.evaluation.prompts import encode_rows, foils
from stages.facts.templates import read_prompt_templates, read_training_forms
from stages.facts.world import build_world
from stages.generate_facts import base_texts, prompt_rows
from stages.modeling.tokens import BOS, first_target_token, train_tokenizer
from stages.study.params import read_yaml
from weightgraft.errors import UserError

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
    for row, prompt in zip(ROWS, encode_rows(tokenizer, ROWS), strict=True):
        assert tokenizer.decode(prompt.tokens, skip_special_tokens=True) == row["text"]
        for name, spans in row["spans"].items():
            words = " ".join(row["text"][start:end] for start, end in spans)
            told = "".join(tokenizer.decode([prompt.tokens[i]]) for i in prompt.positions[name])
            assert told.strip() == words, (name, row["text"])
        assert prompt.positions["LT"] == (len(prompt.tokens) - 1,)


def test_the_target_follows_the_prompt_with_its_space(tokenizer):
    for row, prompt in zip(ROWS, encode_rows(tokenizer, ROWS), strict=True):
        assert first_target_token(tokenizer, row["text"], row["target"]) == (
            list(prompt.tokens),
            prompt.target[0],
        )
        whole = tokenizer.decode(prompt.tokens + prompt.target, skip_special_tokens=True)
        assert whole == row["text"] + row["target"] and tokenizer.decode(prompt.target) == row["target"]


def test_a_text_begins_with_bos_where_the_family_has_one():
    assert [train_tokenizer(TEXTS, 400, bos)("A")["input_ids"][0] == 1 for bos in (False, True)] == [
        False,
        True,
    ]
    assert train_tokenizer(TEXTS, 400, True).convert_ids_to_tokens(1) == BOS


def test_an_unstable_boundary_is_an_error_that_names_the_fact(tokenizer):
    row = ROWS[0] | {"text": ROWS[0]["text"][:-2], "target": ROWS[0]["text"][-2:] + ROWS[0]["target"]}
    with pytest.raises(UserError, match=r"fact 0, prompt 'headline'.*boundary"):
        encode_rows(tokenizer, [row, *ROWS[1:]])
    with pytest.raises(UserError, match="boundary"):
        first_target_token(tokenizer, row["text"], row["target"])


def test_a_span_that_cuts_a_token_is_an_error_that_names_the_fact(tokenizer):
    row = ROWS[0] | {"spans": {"R": [[0, len(ROWS[0]["text"]) - 1]]}}
    with pytest.raises(UserError, match=r"fact 0, prompt 'headline'.*ends inside"):
        encode_rows(tokenizer, [row, *ROWS[1:]])


def test_a_foil_is_another_facts_target_with_another_first_token(tokenizer):
    rows = [row for row in ROWS if "foil" not in row]
    prompts = encode_rows(tokenizer, rows)
    for row, prompt in zip(rows, prompts, strict=True):
        same_question = [
            other.target[0]
            for other_row, other in zip(rows, prompts, strict=True)
            if (other_row["template"], other_row["direction"]) == (row["template"], row["direction"])
        ]
        assert prompt.foil != prompt.target[0] and prompt.foil in same_question
    assert foils([1, 1, 2, 3]) == [2, 2, 3, 1]
    with pytest.raises(UserError, match="no foil"):
        foils([1, 1])
