"""Without a target the explorer asks about SFT's own first guess: that very token, whatever its text would be cut into."""

import pytest
import torch
from explorer.conftest import QUESTION, TEXT
from tiny_models import tiny_model
from transformers import AutoTokenizer

from stages.modeling.models import save_model
from weightgraft import GraftedModel, Prompt, parse_scheme
from weightgraft.explorer.answers import answer
from weightgraft.explorer.models import Models
from weightgraft.explorer.questions import read_question

MORE_ROWS = 5  # of the unembedding than the tokenizer has tokens, as in models whose sizes are rounded up


@pytest.fixture(scope="module")
def padded(folder, tmp_path_factory) -> Models:
    path = tmp_path_factory.mktemp("padded")
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    for seed, name in ((1, "base"), (0, "sft")):
        save_model(
            tiny_model("llama", seed=seed, vocab_size=len(tokenizer) + MORE_ROWS), tokenizer, path / name
        )
    return Models(path / "base", {"sft": path / "sft"}, "float32", torch.device("cpu"))


@pytest.mark.parametrize(
    ("prompt", "piece", "shown"),
    [
        (TEXT, "\u00e2", "<0xE2>"),  # a byte of a character, as byte-level vocabularies write it
        (TEXT[:-1], "h", "h"),  # ` wit` and `h` are ` with`, typed
        (TEXT, None, "<id "),  # a row without a token
    ],
)
def test_a_guess_is_asked_as_the_token_that_it_is(padded, monkeypatch, capsys, prompt, piece, shown):
    tokenizer = padded.tokenizer
    token = len(tokenizer) + 1 if piece is None else tokenizer.convert_tokens_to_ids(piece)
    chosen = torch.nn.functional.one_hot(torch.tensor([[token]]), len(tokenizer) + MORE_ROWS).float()
    with monkeypatch.context() as patched:
        patched.setattr(GraftedModel, "logits", lambda *_: chosen)
        padded.encoded.cache_clear()
        padded.scored.cache_clear()
        asked = {"prompt": prompt, "spans": [["FE", 0, 7]], "target": "", "scheme": "FE"}
        found = answer(padded, read_question(QUESTION | asked))
    assert found["target"].startswith(shown) and [one["id"] for one in found["target_tokens"]] == [token]
    assert len(found["notes"]) == 1 and f"({token}) itself; that text, typed" in found["notes"][0]
    ids = tokenizer(prompt)["input_ids"]
    bare = Prompt(tokens=ids, positions={"FE": found["positions"]["FE"]}, target=[token])
    schemes = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT", "FE")]
    expected = padded.grafted.score([bare], schemes).joint_logprob[0].tolist()
    # Alone or packed with others, float32 rounds otherwise in the last digits.
    assert [row["joint_logprob"] for row in found["schemes"]] == pytest.approx(expected, abs=2e-5)
    exec(found["python"], {})
    pre, sft, graft = expected
    assert f"log-probability {graft:.3f}, PRE {pre:.3f}, SFT {sft:.3f}" in capsys.readouterr().out


def test_a_guess_that_can_be_typed_is_the_target_that_its_text_is(ask, client):
    guessed = ask(target="")
    typed = ask(target=guessed["target"])
    assert typed["target_tokens"] == guessed["target_tokens"] and typed["schemes"] == guessed["schemes"]
    assert guessed["notes"] == typed["notes"]
    assert repr(guessed["target"]) in guessed["python"]
