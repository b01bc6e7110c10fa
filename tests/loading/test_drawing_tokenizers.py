"""A tokenizer that cuts a text at random, as some do in training, gives no number."""

import json

import pytest
from checkpoints import copied
from made_up_tokenizers import made_up_tokenizer
from tokenizers import Tokenizer, models
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from weightgraft import encode_prompt
from weightgraft.engine.steadiness import check_steady
from weightgraft.engine.vocabularies import check_tokenizers
from weightgraft.errors import UserError
from weightgraft.loading.tokenizers import load_tokenizers

SAID = r"the tokenizer cuts a text at random \(tokenizer.json: model.{}\), which is for training alone; take"


@pytest.mark.parametrize("whose", ["recipient", "donor"])
def test_merges_that_are_left_out_at_random_are_refused(folder, tmp_path, whose):
    drawing = copied(folder / "base", tmp_path / "drawing")
    made_up_tokenizer("llama3", False).save_pretrained(drawing)
    path = drawing / "tokenizer.json"
    rules = json.loads(path.read_text())
    rules["model"]["dropout"] = 0.1
    path.write_text(json.dumps(rules))
    pair = (drawing, {"sft": folder / "sft"}) if whose == "recipient" else (folder / "base", {"sft": drawing})
    option = f"--recipient {drawing}" if whose == "recipient" else f"--donor sft={drawing}"
    with pytest.raises(UserError, match=f"^{option}: {SAID.format('dropout 0.1')}"):
        load_tokenizers(*pair)
    rules["model"]["dropout"] = 0.0
    path.write_text(json.dumps(rules))
    load_tokenizers(*pair)


def drawing_unigram(alpha: float | None, n_best: int) -> PreTrainedTokenizerFast:
    model = models.Unigram([("a", -1.0), ("b", -2.0), ("ab", -2.5)], 0)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))
    own = tokenizer.backend_tokenizer.model
    own.alpha, own.nbest_size = alpha, n_best
    return tokenizer


@pytest.mark.parametrize(("alpha", "n_best"), [(0.3, 0), (0.3, 5), (0.3, 1), (0.0, 5), (None, 5)])
def test_a_unigram_that_draws_among_ways_to_cut_is_refused_and_no_other(alpha, n_best):
    tokenizer = drawing_unigram(alpha, n_best)
    draws = len({tuple(tokenizer("ababababab")["input_ids"]) for _ in range(30)}) > 1
    if draws:
        with pytest.raises(ValueError, match=SAID.format("alpha 0.3")):
            check_steady(tokenizer)
    else:
        check_steady(tokenizer)
    assert draws == (alpha == 0.3 and n_best != 1)


def test_a_slow_tokenizer_that_samples_is_refused():
    tokenizer = ByT5Tokenizer()
    check_steady(tokenizer)
    tokenizer.sp_model_kwargs = {
        "enable_sampling": True,
        "alpha": 0.1,
    }  # as SentencePiece's tokenizers keep them
    with pytest.raises(
        ValueError, match=r"at random \(tokenizer_config.json: sp_model_kwargs.enable_sampling\)"
    ):
        check_steady(tokenizer)


def test_python_refuses_it_too():
    tokenizer = drawing_unigram(0.3, 5)
    with pytest.raises(ValueError, match=f"^{SAID.format('alpha 0.3')}"):
        encode_prompt(tokenizer, "abab", "ab", {})
    steady = made_up_tokenizer("gpt2", True)
    with pytest.raises(ValueError, match=r"^donor 'sft': the tokenizer cuts"):
        check_tokenizers({"recipient": steady, "sft": tokenizer}, ["sft"])
    with pytest.raises(ValueError, match=r"^recipient: the tokenizer cuts"):
        check_tokenizers({"recipient": tokenizer, "sft": steady}, ["sft"])
