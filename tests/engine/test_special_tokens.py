"""A BOS is there once, whoever wrote it; a chat template's turn is what the tokenizer itself makes of it."""

import copy

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, given, settings
from made_up_tokenizers import NAMES, made_up_tokenizer

from weightgraft import encode_prompt
from weightgraft.engine.chat import render_turn
from weightgraft.notes import Note, gathered

SEARCH = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
WITH_BOS = ("llama3", "trimmed", "gemma", "llama2", "own_bos")
TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "bos": "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}",
    "trimmed": "{{ bos_token }}{% for m in messages %}<turn>{{ m.role }}\n{{ m.content | trim }}</turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}",
    "plain": "{% for m in messages %}{{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize("kind", WITH_BOS)
def test_a_prompt_that_begins_with_bos_is_the_prompt_without_it(kind):
    tokenizer = made_up_tokenizer(kind, True)
    bos = tokenizer.bos_token

    @SEARCH
    @given(name=st.sampled_from(NAMES), before=st.sampled_from(["See ", "", "In 1999, "]))
    def agree(name, before):
        text, target = f"{before}{name} stars with", " Bob Byron"
        span = (len(before), len(before) + len(name))
        plain = encode_prompt(tokenizer, text, target, {"FE": [span]}, foil=" Ada")
        shifted = {"FE": [tuple(place + len(bos) for place in span)]}
        with gathered() as notes:
            marked = encode_prompt(tokenizer, bos + text, target, shifted, foil=" Ada")
        assert notes == [
            f"the prompt begins with {bos}, which the tokenizer puts in front of every text: it is there once"
        ]
        assert marked.tokens.count(tokenizer.bos_token_id) == 1
        # What stands behind the BOS is cut as the tokenizer cuts a text in which it is written.
        assert list(marked.tokens) == tokenizer(bos + text, add_special_tokens=False)["input_ids"]
        assert marked.target == plain.target and marked.foil == plain.foil
        if marked.tokens == plain.tokens:
            assert marked.positions == plain.positions

    agree()


def test_a_bos_that_nobody_doubles_is_no_note(recwarn):
    tokenizer = made_up_tokenizer("llama3", True)
    encode_prompt(tokenizer, "See Ada", " Bob", {})
    encode_prompt(tokenizer, "<|begin_of_text|>See Ada", " Bob", {}, add_special_tokens=False)
    assert not [warning for warning in recwarn if issubclass(warning.category, Note)]


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("kind", ["own_bos", "own", "llama3", "gemma"])
def test_a_users_turn_is_what_the_tokenizers_template_makes_of_it(kind, template):
    tokenizer = copy.deepcopy(made_up_tokenizer(kind, True))
    tokenizer.chat_template = TEMPLATES[template]

    @SEARCH
    @given(
        name=st.sampled_from(NAMES), around=st.sampled_from([("", ""), (" ", ""), ("", "\n"), ("\n ", " ")])
    )
    def agree(name, around):
        text = f"{around[0]}Who stars with {name} in the role of user?{around[1]}"
        assume(not (template == "plain" and text != text.strip()))  # the target would begin in white space
        rendered, start = render_turn(tokenizer, text)
        place = text.index(name) + start
        assert rendered[place : place + len(name)] == name
        prompt = encode_prompt(
            tokenizer, rendered, " Bob", {"FE": [(place, place + len(name))]}, add_special_tokens=False
        )
        turn = [{"role": "user", "content": text}]
        expected = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
        assert list(prompt.tokens) == expected
        spelled = tokenizer.decode([prompt.tokens[token] for token in prompt.positions["FE"]])
        assert name in spelled

    agree()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "has no chat template; ask without one"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "does not keep a user's turn as it is"),
        ("{{ messages[0].role }}", "does not keep a user's turn as it is"),
        ("{{ messages[0].content | upper }}", "does not keep a user's turn as it is"),
        ("{{ raise_exception('no users here') }}", "its chat template fails: no users here"),
        ("{% for %}", "its chat template fails"),
        ("{{ 1 + 'a' }}", "its chat template fails"),
        ("{{ 1 / 0 }}", "its chat template fails: division by zero"),
        ("{{ range(10 ** 12) | list }}", "its chat template fails: Range too big"),
        (
            "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
            "its chat template fails: maximum recursion depth",
        ),
        ("{{ [].pop() }}", "its chat template fails"),
        ({"tool_use": "{{ messages[0].content }}"}, "its chat template fails"),
        (3, "its chat template fails"),
    ],
)
def test_a_template_that_cannot_be_used_is_told(template, said):
    tokenizer = copy.deepcopy(made_up_tokenizer("own_bos", True))
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=said):
        render_turn(tokenizer, "See Ada")


@pytest.mark.parametrize("text", [b"See Ada", None, ["See Ada"], "See \ud83d Ada"], ids=repr)
def test_a_turn_of_anything_but_text_is_refused(text):
    tokenizer = copy.deepcopy(made_up_tokenizer("own_bos", True))
    tokenizer.chat_template = TEMPLATES["plain"]
    with pytest.raises(ValueError, match=r"the prompt is .*no text"):
        render_turn(tokenizer, text)


@pytest.mark.parametrize("template", ["chatml", "trimmed", "icons"])
def test_letters_for_private_use_and_beyond_the_first_plane_keep_their_place_in_a_turn(template):
    tokenizer = copy.deepcopy(made_up_tokenizer("own", True))
    tokenizer.chat_template = (TEMPLATES | {"icons": "\ue000\ue001 {{ messages[0].content }} \ue000"})[
        template
    ]
    text = " \ue000 \U000f0001👍🏽 Ann Lee \ue001 "
    rendered, start = render_turn(tokenizer, text)
    place = text.index("Ann")
    assert rendered[start + place : start + place + 7] == "Ann Lee"
    prompt = encode_prompt(
        tokenizer, rendered, " Bob", {"FE": [(start + place, start + place + 7)]}, add_special_tokens=False
    )
    assert tokenizer.decode([prompt.tokens[token] for token in prompt.positions["FE"]]).strip() == "Ann Lee"


def test_a_target_that_goes_on_in_a_word_is_told(recwarn):
    tokenizer = made_up_tokenizer("gpt2", True)
    with pytest.warns(
        Note, match="the target goes on in the prompt's last word: 'withBob' is asked; .* write ' Bob'"
    ):
        encode_prompt(tokenizer, "See Ada with", "Bob", {})
    with pytest.warns(Note, match="the foil goes on in"):
        encode_prompt(tokenizer, "See Ada with", " Bob", {}, foil="Ada")
    recwarn.clear()
    for text, target in (("See Ada (", "Bob"), ("See Ada\n", "Bob"), ("李", "小"), ("See Ada", "'s")):
        encode_prompt(tokenizer, text, target, {})
    assert not [warning for warning in recwarn if issubclass(warning.category, Note)]
    with pytest.raises(
        ValueError, match=r"unstable boundary .*write the target with a space in front: ' tars'"
    ):
        encode_prompt(tokenizer, "Ada s", "tars", {})
    with pytest.raises(ValueError, match="the target is empty; give the text"):
        encode_prompt(tokenizer, "See Ada", "", {})
