"""Tokenizers are the same if they give the same ids: unused rules do not matter, and no id is changed in silence."""

import copy
import json

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from made_up_tokenizers import KINDS, SENTENCES, made_up_tokenizer
from tiny_models import tiny_model
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from weightgraft import GraftedModel
from weightgraft.engine.encoding import token_ids
from weightgraft.engine.vocabularies import check_same_ids, check_tokenizers
from weightgraft.notes import Note, gathered

SEARCH = settings(
    max_examples=30,  # a kind: 10 kinds, 300 changes
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
FAST_KINDS = sorted(KINDS)


def backend_json(kind: str) -> dict:
    return json.loads(made_up_tokenizer(kind, True).backend_tokenizer.to_str())


def rebuilt(kind: str, rules: dict, **more) -> PreTrainedTokenizerBase:
    """A tokenizer of the same kind with other rules."""
    tokenizer = copy.deepcopy(made_up_tokenizer(kind, True))
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(rules))
    if more:
        tokenizer.add_special_tokens(more)
    return tokenizer


def trim(rules: dict, rng) -> None:
    for part in ("pre_tokenizer", "post_processor"):
        for rule in parts(rules[part]):
            if "trim_offsets" in rule:
                rule["trim_offsets"] = not rule["trim_offsets"]


def parts(rule: dict | None) -> list[dict]:
    inner = (
        (rule or {}).get("pretokenizers") or (rule or {}).get("processors") or (rule or {}).get("normalizers")
    )
    return [rule, *inner] if rule and inner else [rule] if rule else []


def no_dropout(rules: dict, rng) -> None:
    if rules["model"]["type"] == "BPE":
        rules["model"]["dropout"] = 0.0


def sequence_of_one(rules: dict, rng) -> None:
    for part, inside in (
        ("pre_tokenizer", "pretokenizers"),
        ("post_processor", "processors"),
        ("normalizer", "normalizers"),
    ):
        if rules[part] and rules[part]["type"] != "Sequence":
            rules[part] = {"type": "Sequence", inside: [rules[part]]}


def truncated(rules: dict, rng) -> None:
    rules["truncation"] = None
    rules["padding"] = None


def normalized(rules: dict, rng) -> None:
    rules["normalizer"] = {"type": rng.choice(["NFC", "NFD", "NFKC", "Lowercase", "StripAccents"])}


def swapped_merges(rules: dict, rng) -> None:
    merges = rules["model"].get("merges")
    if merges:
        i, j = rng.randrange(len(merges)), rng.randrange(len(merges))
        merges[i], merges[j] = merges[j], merges[i]


def without_a_merge(rules: dict, rng) -> None:
    merges = rules["model"].get("merges")
    if merges:
        del merges[rng.randrange(len(merges))]


def other_scores(rules: dict, rng) -> None:
    if rules["model"]["type"] == "Unigram":
        entry = rules["model"]["vocab"][rng.randrange(3, len(rules["model"]["vocab"]))]
        entry[1] -= rng.choice([0.01, 5.0])


def swapped_ids(rules: dict, rng) -> None:
    vocabulary = rules["model"]["vocab"]
    if isinstance(vocabulary, dict):
        one, other = rng.sample(
            sorted(set(vocabulary) - {token["content"] for token in rules["added_tokens"]}), 2
        )
        vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


def no_bos(rules: dict, rng) -> None:
    rules["post_processor"] = None


def split_digits(rules: dict, rng) -> None:
    own = rules["pre_tokenizer"]
    digits = {"type": "Digits", "individual_digits": True}
    rules["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, *([own] if own else [])]}


CHANGES = [
    trim, no_dropout, sequence_of_one, truncated, normalized, swapped_merges, without_a_merge, other_scores, swapped_ids,
    no_bos, split_digits,
]  # fmt: skip


def shared_ids_agree(theirs: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase) -> bool:
    known = ours.get_vocab()
    return all(known.get(token, number) == number for token, number in theirs.get_vocab().items())


@pytest.mark.parametrize("kind", FAST_KINDS)
def test_a_tokenizer_is_accepted_if_and_only_if_it_gives_the_same_ids_to_what_is_asked(kind):
    ours = made_up_tokenizer(kind, True)
    outcomes = set()

    @SEARCH
    @given(
        change=st.sampled_from(CHANGES),
        rng=st.randoms(use_true_random=False),
        added=st.sampled_from([{}, {}, {"pad_token": "[PAD]"}, {"additional_special_tokens": ["<|im_start|>", "<x>"]}]),
        texts=st.lists(st.sampled_from(SENTENCES) | st.text("ab cdЖé1 \n'", min_size=1, max_size=9), min_size=1, max_size=3),
    )  # fmt: skip
    def agree(change, rng, added, texts):
        rules = backend_json(kind)
        change(rules, rng)
        theirs = rebuilt(kind, rules, **added)
        texts = [text for text in texts if text.strip()] or ["Ada"]
        same = shared_ids_agree(theirs, ours) and all(
            token_ids(theirs, text) == token_ids(ours, text) for text in texts
        )
        try:
            with gathered() as notes:
                check_same_ids("x", theirs, ours, texts)
        except ValueError as error:
            assert not same
            assert "tokenizer of 'x' differs from the recipient's in " in str(error)
            assert ", recipient " in str(error)
            outcomes.add("refused")
            return
        assert same
        assert len(notes) <= 1 and bool(notes) >= bool(added)
        outcomes.add("accepted")
        # In Python nobody says what will be asked: what is accepted there must be the same on every text of the kind.
        try:
            with gathered():
                check_tokenizers({"recipient": ours, "x": theirs}, ["x"])
        except ValueError:
            return
        assert all(token_ids(theirs, text) == token_ids(ours, text) for text in SENTENCES[::7])

    agree()
    assert "accepted" in outcomes


def test_the_first_token_that_differs_is_shown_of_both():
    vocabulary = {token: number for number, token in enumerate(["?", "x", "y", "z", "xy", "yz", "zz"])}

    def cut_by(merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.BPE(vocabulary, merges, unk_token="?"))
        )

    with pytest.raises(
        ValueError,
        match=r"in how it cuts 'zxyz': token 1 is 'x' \(1\), recipient 'xy' \(4\); without tokenizer files",
    ):
        check_same_ids("x", cut_by([("y", "z")]), cut_by([("x", "y")]), ["zxyz"])
    with pytest.raises(ValueError, match=r"token 0 is 'z' \(3\), recipient 'zz' \(6\)"):
        check_same_ids("x", cut_by([]), cut_by([("z", "z")]), ["zz"])


def test_an_added_pad_token_and_its_rows_are_a_note(recwarn):
    ours = made_up_tokenizer("own_bos", True)
    theirs = rebuilt("own_bos", backend_json("own_bos"), pad_token="[PAD]")
    number = len(ours)
    with pytest.warns(Note, match=rf"only it knows '\[PAD\]' \({number}\)"):
        check_same_ids("x", theirs, ours, SENTENCES[:3])
    with pytest.raises(ValueError, match=r"in how it cuts 'a\[PAD\]'"):
        check_same_ids("x", theirs, ours, ["a[PAD]"])
    pre, sft = (tiny_model("llama", seed, vocab_size=number) for seed in (0, 1))
    with pytest.warns(Note, match="in what changes no token here"):
        GraftedModel(pre, {"x": sft}, tokenizers={"recipient": ours, "x": theirs})
