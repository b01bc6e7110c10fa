"""Text to prompts: spans to tokens, and a boundary between prompt and target that must hold."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from weightgraft import encode_prompt


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that knows a few merges: `ĠAda`, `Love`, `lace`, `Ġst` and `star`."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("A", "d"),
        ("Ad", "a"),
        ("Ġ", "Ada"),
        ("L", "o"),
        ("v", "e"),
        ("Lo", "ve"),
        ("Ġ", "s"),
        ("Ġs", "t"),
        ("s", "t"),
    ]
    vocabulary = letters + ["".join(merge) for merge in merges]
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate(vocabulary)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def words(tokenizer, tokens) -> list[str]:
    return [tokenizer.decode([token]) for token in tokens]


def test_spans_of_characters_become_positions(tokenizer):
    text = "See Ada Lo"
    start = text.index("Ada")
    prompt = encode_prompt(
        tokenizer, text, " Ada st", {"FE": [(start, len(text))], "R": [(0, 3)]}, foil=" star"
    )
    assert words(tokenizer, [prompt.tokens[place] for place in prompt.positions["FE"]]) == [" Ada", " ", "Lo"]
    assert words(tokenizer, [prompt.tokens[place] for place in prompt.positions["R"]]) == ["S", "e", "e"]
    assert prompt.positions["LT"] == (len(prompt.tokens) - 1,)
    assert words(tokenizer, prompt.target) == [" Ada", " st"]
    assert words(tokenizer, [prompt.foil]) == [" st"]


def test_a_token_between_two_sets_belongs_to_none(tokenizer):
    text = "Ada Ada"
    prompt = encode_prompt(tokenizer, text, " st", {"FE": [(0, 3)], "M": [(4, 7)]})
    assert prompt.positions["FE"] == (0,) and prompt.positions["M"] == (1,)


def test_an_unstable_boundary_shows_both_tokenizations(tokenizer):
    with pytest.raises(ValueError) as caught:
        encode_prompt(tokenizer, "See A", "da", {})
    message = str(caught.value)
    assert "'See A'" in message and "'da'" in message
    assert "'Ġ', 'A'] alone" in message and "'ĠAda'] together" in message


def test_a_span_that_ends_inside_a_token_is_refused(tokenizer):
    with pytest.raises(ValueError, match="position set 'FE': 'Ad' ends inside the token"):
        encode_prompt(tokenizer, "See Ada", " st", {"FE": [(4, 6)]})


def test_a_span_without_tokens_is_refused(tokenizer):
    with pytest.raises(ValueError, match="hold no token"):
        encode_prompt(tokenizer, "See Ada", " st", {"FE": [(3, 3)]})
