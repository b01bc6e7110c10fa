"""What a tokenizer has no token for is told: a model is asked something else than was typed."""

import pytest
from made_up_tokenizers import KINDS, NAMES, made_up_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from weightgraft.loading.tokenizers import check_asked
from weightgraft.notes import gathered

WORDS = "Ann Lee starred with Bob"


def of_bytes() -> PreTrainedTokenizerFast:
    """Byte-level, and trained without an alphabet of all bytes: others than those of WORDS are no token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator([WORDS], trainers.BpeTrainer(show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def of_words() -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *WORDS.split()])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def notes_on(tokenizer: PreTrainedTokenizerFast, *texts: str) -> list[str]:
    with gathered() as notes:
        check_asked({"recipient": tokenizer}, texts, special=True)
    return notes


def test_letters_that_are_left_out_are_told():
    tokenizer = of_bytes()
    assert tokenizer("Ann 李 Lee")["input_ids"] == tokenizer("Ann  Lee")["input_ids"]
    assert notes_on(tokenizer, "Ann 李 Lee", "Ann 李 Lee Zob") == [
        "the tokenizer knows no token for '李', 'Z' and leaves that out: what is asked is the rest"
    ]
    assert notes_on(tokenizer, "Ann LeeABCDEFGHIJ") == [
        "the tokenizer knows no token for 'C', 'D', 'E', 'F', 'G' and 3 more and leaves that out: what is asked is the rest"
    ]


def test_words_that_become_the_unknown_token_are_told():
    assert notes_on(of_words(), "Ann Lee with", "Ann Lee with Jim") == [
        "the tokenizer knows no token for 'Jim': one token for all that is unknown is asked instead"
    ]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_is_told_where_everything_is_asked(kind):
    assert notes_on(made_up_tokenizer(kind, False), *NAMES) == []
    assert notes_on(of_bytes(), WORDS) == notes_on(of_words(), WORDS, f"{WORDS} [UNK]") == []
