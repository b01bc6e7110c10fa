"""A tokenizer's files that transformers or tokenizers cannot use are told in one line, whatever they raise."""

import json

import pytest
from checkpoints import copied
from made_up_tokenizers import made_up_tokenizer

from weightgraft.errors import UserError
from weightgraft.loading.tokenizers import load_tokenizers

SPOILT = (
    ("tokenizer_config.json", {"additional_special_tokens": "x"}),
    ("tokenizer_config.json", {"added_tokens_decoder": []}),
    ("tokenizer_config.json", {"added_tokens_decoder": {"0": "x"}}),
    ("tokenizer_config.json", {"tokenizer_class": 3}),
    ("tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"}),
    ("tokenizer_config.json", {"unk_token": 3}),
    ("tokenizer_config.json", {"model_max_length": "x"}),
    ("tokenizer_config.json", {"padding_side": "x"}),
    ("special_tokens_map.json", {"unk_token": []}),
    ("special_tokens_map.json", {"additional_special_tokens": 3}),
    ("added_tokens.json", {"<x>": "y"}),
)


@pytest.mark.parametrize(("file", "entries"), SPOILT, ids=str)
@pytest.mark.parametrize("whose", ["recipient", "donor"])
def test_a_tokenizer_that_cannot_be_used_is_one_line(folder, tmp_path, file, entries, whose):
    spoilt = copied(folder / "sft", tmp_path / "spoilt")
    path = spoilt / file
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | entries))
    pair = (spoilt, {"sft": folder / "base"}) if whose == "recipient" else (folder / "base", {"sft": spoilt})
    option = f"--recipient {spoilt}" if whose == "recipient" else f"--donor sft={spoilt}"
    with pytest.raises(UserError) as told:
        load_tokenizers(*pair)
    line = str(told.value)
    assert line.startswith(f"{option}: its tokenizer cannot be used: ") and "\n" not in line
    assert line.endswith("from where the model was trained")


@pytest.mark.parametrize("whose", ["recipient", "donor"])
def test_a_vocabulary_without_tokens_is_told(folder, tmp_path, whose):
    """As of a training script that saved a tokenizer before it was trained: every text is nothing."""
    empty = copied(folder / "base", tmp_path / "empty")
    made_up_tokenizer("llama3", False).save_pretrained(empty)
    rules = json.loads((empty / "tokenizer.json").read_text())
    rules["model"] |= {"vocab": {}, "merges": []}
    (empty / "tokenizer.json").write_text(json.dumps(rules))
    pair = (empty, {"sft": folder / "sft"}) if whose == "recipient" else (folder / "base", {"sft": empty})
    option = f"--recipient {empty}" if whose == "recipient" else f"--donor sft={empty}"
    with pytest.raises(
        UserError, match=f"^{option}: its tokenizer cannot be used: its vocabulary is empty; copy"
    ):
        load_tokenizers(*pair)
