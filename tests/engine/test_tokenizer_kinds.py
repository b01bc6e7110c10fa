"""Spans and targets on tokenizers of all kinds, against the bytes of each token, which no offset has a part in."""

# ruff: noqa: RUF001 -- the letters that ruff takes for slips are those of the names

import unicodedata
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from drawn_names import QUESTIONS, TEMPLATES, row_of
from hypothesis import HealthCheck, assume, given, settings
from made_up_tokenizers import KINDS, made_up_tokenizer, token_bytes
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase

from stages.evaluation.prompts import encode_rows
from weightgraft import encode_prompt

SEARCH = settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


class Reading:
    """A text as its tokens' bytes. bytes_at: for each token, the bytes [low, high) of the normalized text."""

    def __init__(self, kind: str, tokenizer: PreTrainedTokenizerBase, text: str):
        tokens = tokenizer(text)["input_ids"]
        if tokens[-1] == tokenizer.eos_token_id:
            tokens = tokens[:-1]
        self.kind, self.text, self.tokens = kind, text, tokens
        self.pieces = token_bytes(kind, tokenizer, tokens)
        self.whole, normalized = b"".join(self.pieces), KINDS[kind].normalized(text).encode()
        self.prefix = len(self.whole) - len(normalized)  # a space that the tokenizer puts in front
        assert self.whole == b" " * self.prefix + normalized and self.prefix <= 1
        ends = [0]
        for piece in self.pieces:
            ends.append(ends[-1] + len(piece))
        self.bytes_at = list(pairwise(ends))

    def size(self, text: str) -> int:
        return len(KINDS[self.kind].normalized(text).encode())

    def can_be_cut_at(self, *places: int) -> bool:
        """Normalization does not join what stands on both sides of these places."""
        return all(
            self.size(self.text[:i]) + self.size(self.text[i:]) == self.size(self.text) for i in places
        )

    def has_ligatures(self) -> bool:
        """Some character is several once normalized; where one of these is unknown, offsets cannot tell whose bytes are whose."""
        return any(len(KINDS[self.kind].normalized(character)) > 1 for character in self.text)

    def bytes_of(self, start: int, end: int) -> range:
        low = self.prefix + self.size(self.text[:start])
        return range(low, low + self.size(self.text[start:end]))

    def tokens_of(self, span: range) -> list[int]:
        return [
            i for i, (low, high) in enumerate(self.bytes_at) if max(low, span.start) < min(high, span.stop)
        ]

    def word_is_cut(self, span: range) -> bool:
        """Does a token of the span hold a byte of a letter or digit beside it?"""
        held = {byte for i in self.tokens_of(span) for byte in range(*self.bytes_at[i])} - set(span)
        place = 0
        for character in self.whole.decode():
            if is_word(character) and held & set(range(place, place + len(character.encode()))):
                return True
            place += len(character.encode())
        return False


def core(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


@pytest.fixture(params=KINDS, scope="module")
def kind(request) -> str:
    return request.param


def test_spans_and_targets_of_the_studys_prompts_are_right(kind):
    @SEARCH
    @given(drawn=QUESTIONS, large=st.booleans())
    def right(drawn: dict, large: bool):
        row, tokenizer = row_of(drawn), made_up_tokenizer(kind, large)
        reading = Reading(kind, tokenizer, row["text"])
        (prompt,) = encode_rows(tokenizer, [row])
        assert list(prompt.tokens) == reading.tokens and set(prompt.positions) == {*row["spans"], "LT"}
        owner: dict[int, str] = {}
        for name, spans in row["spans"].items():
            wanted = [i for span in spans for i in reading.tokens_of(reading.bytes_of(*span))]
            assert list(prompt.positions[name]) == wanted
            for start, end in spans:  # the name is there whole, and in no other token
                covered = reading.tokens_of(reading.bytes_of(start, end))
                held = b"".join(reading.pieces[i] for i in covered).decode(errors="ignore")
                assert KINDS[kind].normalized(row["text"][start:end]) in held
            assert not owner.keys() & set(wanted), "two sets share a token"
            owner |= dict.fromkeys(wanted, name)
        assert all(reading.pieces[i] for i in owner), "BOS is in no set"
        assert prompt.positions["LT"] == (len(prompt.tokens) - 1,) and reading.pieces[-1]
        together = Reading(kind, tokenizer, row["text"] + row["target"])
        assert [*prompt.tokens, *prompt.target] == together.tokens
        assert b"".join(together.pieces[len(prompt.tokens) :]).decode() == KINDS[kind].normalized(
            row["target"]
        )
        assert [*prompt.tokens, prompt.foil] == (
            Reading(kind, tokenizer, row["text"] + row["foil"]).tokens[: len(prompt.tokens) + 1]
        )

    right()


def test_any_span_is_right_or_refused(kind):
    @SEARCH
    @given(drawn=QUESTIONS, large=st.booleans(), data=st.data())
    def right_or_refused(drawn: dict, large: bool, data: st.DataObject):
        row, tokenizer = row_of(drawn), made_up_tokenizer(kind, large)
        text = row["text"]
        reading = Reading(kind, tokenizer, text)
        places = st.integers(0, len(text))
        start, end = sorted(data.draw(st.tuples(places, places)))
        low, high = core(text, start, end)
        assume(reading.can_be_cut_at(low, high))
        span = reading.bytes_of(low, high)
        cut = low == high or reading.word_is_cut(span)
        try:
            prompt = encode_prompt(tokenizer, text, row["target"], {"X": [(start, end)]})
        except ValueError as error:
            message = str(error)
            assert "position set 'X'" in message and repr(text) in message and "\n" not in message
            assert cut or reading.has_ligatures()
        else:
            assert not cut and list(prompt.positions["X"]) == reading.tokens_of(span)

    right_or_refused()


def test_a_boundary_anywhere_holds_or_shows_both_tokenizations(kind):
    seen = set()

    @SEARCH
    @given(drawn=QUESTIONS, large=st.booleans(), data=st.data())
    def holds_or_shows(drawn: dict, large: bool, data: st.DataObject):
        row, tokenizer = row_of(drawn), made_up_tokenizer(kind, large)
        whole = row["text"] + row["target"]
        place = data.draw(st.integers(1, len(whole) - 1))
        text, rest = whole[:place], whole[place:]
        alone, together = (Reading(kind, tokenizer, part).tokens for part in (text, whole))
        stable = together[: len(alone)] == alone and len(together) > len(alone)
        seen.add(stable)
        if stable:
            prompt = encode_prompt(tokenizer, text, rest, {})
            assert [*prompt.tokens, *prompt.target] == together
        else:
            with pytest.raises(ValueError, match="unstable boundary") as caught:
                encode_prompt(tokenizer, text, rest, {})
            for shown in (text, rest, *map(tokenizer.convert_ids_to_tokens, (alone, together))):
                assert repr(shown) in str(caught.value)

    holds_or_shows()
    assert seen == {True, False}


def test_many_rows_together_are_as_each_alone(kind):
    drawn = {"template": TEMPLATES[0], "title": "The {actor}", "answer": "Bob", "foil": "Мира Козлова"}
    rows = [
        row_of(drawn | {"actor": actor}) for actor in ("Ada", "Siobhán O’Connor Jr.", "李 小龙", "😀", "Ada")
    ]
    for large in (False, True):
        tokenizer = made_up_tokenizer(kind, large)
        alone = [
            encode_prompt(tokenizer, row["text"], row["target"], row["spans"], row["foil"]) for row in rows
        ]
        assert encode_rows(tokenizer, rows) == alone
        assert alone[0] == alone[-1] and alone[0] != alone[1]


def test_a_name_is_one_token_or_ten(kind):
    text, target = "See Lovelace now", " Lovelace"
    spans = {"FE": [(4, 12)]}
    large, small = (
        encode_prompt(made_up_tokenizer(kind, size), text, target, spans) for size in (True, False)
    )
    assert len(large.positions["FE"]) == len(large.target) == 1
    assert len(small.positions["FE"]) in (8, 9)  # with or without its space, which is a token of its own
    ten = encode_prompt(made_up_tokenizer(kind, False), "See Ada Lovelace now", target, {"FE": [(4, 16)]})
    assert len(ten.positions["FE"]) >= 10


def held(kind: str, large: bool, text: str, span: str) -> str:
    """What the tokens of a span hold."""
    tokenizer = made_up_tokenizer(kind, large)
    start, end = text.index(span), text.index(span) + len(span)
    prompt = encode_prompt(tokenizer, text, " Bob", {"X": [(start, end)]})
    pieces = token_bytes(kind, tokenizer, list(prompt.tokens))
    return b"".join(pieces[i] for i in prompt.positions["X"]).decode()


def test_a_full_stop_that_a_token_joins_to_a_question_mark_is_in_the_name():
    text = "Who stars with Bob Byron Jr.? A:"
    assert held("gpt2", True, text, "Bob Byron Jr.") == " Bob Byron Jr.?"
    assert held("gemma", True, text, "Bob Byron Jr.") == " Bob Byron Jr.?"
    assert held("gpt2", False, text, "Bob Byron Jr.") == "Bob Byron Jr."
    # Here the question mark is a token of its own, though its offsets are those of both.
    assert held("unigram_first", False, text, "Bob Byron Jr.") == "Bob Byron Jr."


def test_the_space_in_front_of_a_text_is_in_no_set():
    for kind in ("trimmed", "llama2", "unigram_first", "unigram_always"):
        assert held(kind, False, "Zoë stars", "Zoë") == "Zoë"  # a token of its own, as before any word
    assert held("llama2", True, "Zoë stars", "Zoë") == " Zoë"  # one token with the name


def test_a_space_inside_a_name_is_in_its_set_where_offsets_leave_white_space_out():
    assert held("trimmed", False, "See Ada  Jr. now", "Ada  Jr.") == "Ada  Jr."


def test_white_space_at_the_end_of_a_span_is_the_next_words():
    assert held("gpt2", True, "See Ada Lovelace", "Ada ") == " Ada"


def test_a_token_that_two_sets_would_share_is_refused():
    tokenizer = made_up_tokenizer("gpt2", large=True)
    with pytest.raises(ValueError, match=r"'FE': 'Jr\.' ends inside the token '\.\?' of 'Bob Jr\.\?'"):
        encode_prompt(tokenizer, "Bob Jr.?", " Bob", {"FE": [(4, 7)], "R": [(7, 8)]})


@pytest.mark.parametrize(
    "kind, large, text, span, token",
    [
        ("gemma", True, "See दीपिका now", "दीपिक", " दीपिका"),  # the vowel sign is part of the word
        ("unigram_always", False, "See -№ now", "-", "-№"),  # - and N of No are unknown, o is known
    ],
)
def test_a_span_that_ends_inside_a_token_is_refused_in_any_script(kind, large, text, span, token):
    start = text.index(span)
    with pytest.raises(ValueError) as caught:
        encode_prompt(made_up_tokenizer(kind, large), text, " Bob", {"M": [(start, start + len(span))]})
    assert str(caught.value) == f"position set 'M': {span!r} ends inside the token {token!r} of {text!r}"


@pytest.mark.parametrize("span", [(3, 4), (-3, 3), (4, 99), (6, 4)], ids=str)
def test_a_span_that_is_no_part_of_the_text_is_refused(span):
    with pytest.raises(ValueError, match=r"position set 'FE': characters .* of 'See Ada' hold no token"):
        encode_prompt(made_up_tokenizer("gpt2", large=True), "See Ada", " Bob", {"FE": [span]})


@pytest.mark.parametrize("kind", ["own", "own_bos", "unigram_always"])
def test_a_prompt_without_text_is_refused(kind):
    with pytest.raises(ValueError, match="the prompt '' holds no token"):
        encode_prompt(made_up_tokenizer(kind, large=True), "", " Bob", {})


def test_padding_and_truncation_saved_with_a_tokenizer_change_nothing():
    tokenizer = made_up_tokenizer.__wrapped__("llama3", large=True)
    text, spans = "Ada Lovelace stars in a movie alongside", {"FE": [(0, 12)]}
    plain = encode_prompt(tokenizer, text, " Bob", spans)
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    assert encode_prompt(tokenizer, text, " Bob", spans) == plain


def test_a_slow_tokenizer_is_refused_by_name():
    with pytest.raises(ValueError, match="ByT5Tokenizer is no fast tokenizer"):
        encode_prompt(ByT5Tokenizer(), "Ada", " Bob", {"FE": [(0, 3)]})


def test_the_kinds_are_what_their_families_have():
    """A text's first and last tokens, and the classes that AutoTokenizer takes for these files."""
    made = {kind: made_up_tokenizer(kind, large=True) for kind in KINDS}
    classes = {kind: type(tokenizer).__name__ for kind, tokenizer in made.items()}
    ends = {kind: made[kind].convert_ids_to_tokens(made[kind]("Ada Lovelace").input_ids) for kind in KINDS}
    assert {classes[kind] for kind in KINDS} >= {
        "GPT2Tokenizer",
        "GPTNeoXTokenizer",
        "GemmaTokenizer",
        "LlamaTokenizer",
    }
    assert ends["gpt2"] == ends["pythia"] == ends["own"] == ["Ada", "ĠLovelace"]
    assert ends["llama3"] == ["<|begin_of_text|>", "Ada", "ĠLovelace"]
    assert ends["own_bos"] == ["<bos>", "Ada", "ĠLovelace"]
    assert ends["gemma"] == ["<bos>", "Ada", "▁Lovelace"]
    assert ends["llama2"] == ["<s>", "▁Ada", "▁Lovelace"]
    assert (ends["unigram_always"][0], ends["unigram_always"][-1]) == ("<s>", "</s>")
    assert "  " in made["pythia"].tokenize("Ada  Lovelace")
    assert "<0xC3>" in made_up_tokenizer("gemma", large=False).tokenize("é")
