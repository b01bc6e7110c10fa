"""Letters that a tokenizer leaves out or does not know: a span or a target with them is refused, elsewhere they are told. What is
no text, no pair or no tokenizer is refused with what to give."""

import pytest
from made_up_tokenizers import made_up_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from weightgraft import encode_prompt
from weightgraft.notes import gathered

LETTERS = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz▁"]
UNKNOWN = "<unk>"


def letters_only(unknown: str | None = None, leaves_out: str = "") -> PreTrainedTokenizerFast:
    """A token for each Latin letter. All else is `unknown`, or dropped without a word where that is None."""
    names = [*LETTERS, *([unknown] if unknown else [])]
    backend = Tokenizer(
        models.BPE(
            {name: number for number, name in enumerate(names)},
            [],
            **({"unk_token": unknown} if unknown else {}),
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    if leaves_out:
        backend.normalizer = normalizers.Replace(leaves_out, "")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=unknown)


def words_at(tokenizer, prompt, name: str) -> str:
    return "".join(
        tokenizer.convert_ids_to_tokens([prompt.tokens[place] for place in prompt.positions[name]])
    )


@pytest.mark.parametrize(
    "tokenizer", [letters_only(), letters_only(leaves_out="李")], ids=["model", "normalizer"]
)
@pytest.mark.parametrize("span", [(4, 5), (4, 8), (5, 8)], ids=str)
def test_a_span_in_a_word_that_a_tokenizer_does_not_keep_is_refused(tokenizer, span):
    with pytest.raises(
        ValueError,
        match=r"position set 'FE': the tokenizer leaves out '.' in '李Ada', and does not tell which",
    ):
        encode_prompt(tokenizer, "See 李Ada here", " Bob", {"FE": [span]})


@pytest.mark.parametrize(
    "tokenizer", [letters_only(), letters_only(leaves_out="™")], ids=["model", "normalizer"]
)
def test_a_letter_left_out_elsewhere_is_told_and_changes_no_span(tokenizer):
    with gathered() as notes:
        prompt = encode_prompt(tokenizer, "See ™ Ada here", " Bob", {"FE": [(6, 9)]})
    assert words_at(tokenizer, prompt, "FE") == "Ada"
    assert notes == ["the tokenizer leaves out '™' of the prompt, its character 4"]


@pytest.mark.parametrize("what", ["target", "foil"])
@pytest.mark.parametrize("given", [" 李", " 李Ada", " Ada李"])
def test_a_target_with_letters_that_are_left_out_is_refused(what, given):
    answers = {"target": " Bob"} | {what: given}
    with pytest.raises(
        ValueError, match=f"the {what} '{given}': the tokenizer leaves out '.'; write it in letters"
    ):
        encode_prompt(letters_only(), "See", spans={}, **answers)


@pytest.mark.parametrize("what", ["target", "foil"])
def test_a_target_that_becomes_the_unknown_token_is_refused(what):
    answers = {"target": " Bob"} | {what: " Zoë"}
    with pytest.raises(
        ValueError, match=f"the {what} ' Zoë': the tokenizer does not know 'ë', which is {UNKNOWN} to it"
    ):
        encode_prompt(letters_only(UNKNOWN), "See", spans={}, **answers)


def test_the_unknown_token_itself_may_be_asked_for_and_one_in_the_prompt_is_told():
    tokenizer = letters_only(UNKNOWN)
    with gathered() as notes:
        prompt = encode_prompt(tokenizer, "See Zoë李", f" {UNKNOWN}", {"FE": [(4, 8)]})
    assert words_at(tokenizer, prompt, "FE") == f"Zo{UNKNOWN}{UNKNOWN}"
    assert prompt.target[-1] == tokenizer.unk_token_id
    assert notes == [
        f"the tokenizer does not know 'ë' of the prompt, and 1 more; to it, and to the models, it is {UNKNOWN}"
    ]


@pytest.mark.parametrize(
    "kind", ["gpt2", "pythia", "llama3", "trimmed", "gemma", "llama2", "unigram_always", "own_bos"]
)
def test_letters_that_unicode_joins_or_that_lie_beyond_its_first_plane_are_left_out_by_nobody(kind):
    name = "Zoe\u0308 \u1112\u1161\u11ab 👍🏽 \ue000\U000f0001 ﬁ🇩🇪"
    text = f"Now see {name} in"
    for large in (True, False):
        tokenizer = made_up_tokenizer(kind, large)
        with gathered() as notes:
            prompt = encode_prompt(
                tokenizer, text, " Bob", {"FE": [(8, 8 + len(name))], "M": [(8 + len(name) + 1, len(text))]}
            )
        assert notes == []
        assert tokenizer.decode([prompt.tokens[place] for place in prompt.positions["M"]]).strip() == "in"
        spelled = tokenizer.decode([prompt.tokens[place] for place in prompt.positions["FE"]])
        assert spelled.strip().startswith("Zo") and spelled.endswith("🇩🇪")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": b"See"}, "the prompt is b'See', a bytes and no text"),
        ({"text": None}, "the prompt is None"),
        ({"text": ["See"]}, "the prompt is .'See'., a list"),
        ({"text": "See \ud83d"}, "the prompt is no text: its character 4 is half of one"),
        ({"target": 3}, "the target is 3"),
        ({"target": " \udcff"}, "the target is no text: its character 1"),
        ({"foil": b" Bob"}, "the foil is b' Bob'"),
        ({"spans": None}, "spans are None; give"),
        ({"spans": [(0, 3)]}, "spans are .*by names"),
        ({"spans": {"FE": (0, 3)}}, "position set 'FE': 0 is no list of whole numbers; give pairs"),
        ({"spans": {"FE": [(0, 3, 1)]}}, "position set 'FE': .0, 3, 1. is no pair"),
        ({"spans": {"FE": ["Se"]}}, "position set 'FE': 'Se' is no list of whole numbers"),
        ({"spans": {"FE": "See"}}, "position set 'FE': 'See' is no list; give pairs"),
        ({"spans": {"FE": [(0.0, 3.0)]}}, "position set 'FE': 0.0 is no whole number"),
        ({"spans": {"FE": [(False, True)]}}, "position set 'FE': False is no whole number"),
        ({"spans": {"FE": [(0, 300_000_000)]}}, "characters 0 to 300000000 of .* hold no token"),
        ({"spans": {"FE": [(300_000_000, 300_000_001)]}}, "hold no token"),
        ({"spans": {"FE": []}}, "position set 'FE' is empty"),
        ({"spans": {"LT": [(0, 3)]}}, "position set 'LT' is the last token of every prompt"),
        ({"spans": {"PRE": [(0, 3)]}}, "position set 'PRE': a name is"),
        (
            {"tokenizer": "gpt2"},
            r"a str is no tokenizer of transformers; give AutoTokenizer.from_pretrained\(folder\)",
        ),
        ({"tokenizer": letters_only().backend_tokenizer}, "a Tokenizer is no tokenizer of transformers"),
        ({"tokenizer": None}, "a NoneType is no tokenizer"),
    ],
)
def test_what_is_no_text_no_pair_or_no_tokenizer_is_refused_with_what_to_give(arguments, said):
    usual = {"tokenizer": letters_only(), "text": "See Ada", "target": " Bob", "spans": {}}
    with pytest.raises(ValueError, match=said) as caught:
        encode_prompt(**usual | arguments)
    assert "\n" not in str(caught.value)
