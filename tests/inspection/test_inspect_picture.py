"""What a reader finds in the picture."""

import copy

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread
from pictures import check_readable, drawn_texts, lightness, texts

from weightgraft.inspection.picture import draw_inspection, levels, save_picture, signed
from weightgraft.inspection.tokens import token_text, visible
from weightgraft.style import RC, percent

WORDS = [
    " the",
    "\n",
    " a",
    "Holly",
    " antidisestablishmentarianism",
    "<0xE2><0x82>",
    " \u4f60",
    "s",
    "<|end|>",
]


@pytest.fixture(autouse=True)
def style():
    with matplotlib.rc_context(RC):
        yield


def enlarged(document, n_tokens: int, n_layers: int, size: float = 0.1) -> dict:
    """The document with made-up cells of another size and tokens that are hard to write."""
    found, noise = copy.deepcopy(document), np.random.default_rng(0)
    pre, sft = (row["joint_logprob"] for row in found["schemes"][:2])

    def part(shape) -> dict:
        values = noise.normal(0, size, shape)
        return {"recovered": values.tolist(), "joint_logprob": (pre + values * (sft - pre)).tolist()}

    found["tokens"] = [{"id": i, "text": WORDS[i % len(WORDS)]} for i in range(n_tokens)]
    found["positions"] = {"FE": [0, 1], "M": [1, 2], "LT": [n_tokens - 1]}
    rows = ["embed", *map(str, range(n_layers)), "readout"]
    found["map"] = {"donor": "sft", "rows": rows, **part((len(rows), n_tokens))}
    found["map"] |= {"whole_token": part(n_tokens), "whole_row": part(len(rows))}
    return found


def warned(found: dict) -> dict:
    """The same where SFT does not beat PRE."""
    found = copy.deepcopy(found)
    found["warning"] = "SFT does not beat PRE on this target (log-probability -8.1 against -8.0)"
    for part in (found["map"], found["map"]["whole_token"], found["map"]["whole_row"]):
        part["recovered"] = np.full(np.shape(part["recovered"]), None).tolist()
    return found


def image(figure):
    return figure.axes[0].images[0]


def cell_numbers(figure) -> dict[tuple[int, int], str]:
    return {tuple(map(int, reversed(t.get_position()))): t.get_text() for t in figure.axes[0].texts}


def test_the_picture_shows_the_documents_numbers(document):
    figure = draw_inspection(document)
    values = np.array(document["map"]["recovered"])
    assert np.array_equal(image(figure).get_array(), values) and image(figure).origin == "lower"
    assert cell_numbers(figure) == {place: percent(value) for place, value in np.ndenumerate(values)}
    bars = [[patch.get_height() for patch in figure.axes[1].patches]]
    bars.append([patch.get_width() for patch in figure.axes[3].patches])
    assert bars == [document["map"]["whole_token"]["recovered"], document["map"]["whole_row"]["recovered"]]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == document["map"]["rows"]
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "".join(labels[1:]) == "Ann·Lee·starred·in·Night·River·together·with" and labels[0] == "<bos>"


def test_the_picture_tells_what_it_shows(document):
    told = " ".join(texts(draw_inspection(document)))
    pre, sft = document["schemes"][:2]
    for row in (pre, sft):
        assert f"{row['scheme']} {signed(row['joint_logprob'])} (rank {row['target_rank']})" in told
    for words in (
        "Bob Ray",
        "recovered fraction of log-probability",
        "0 = PRE, 1 = SFT",
        "FE",
        "M",
        "LT",
        "base",
    ):
        assert words in told
    assert "rank of the first" in told and "WARNING" not in told


def test_where_sft_does_not_beat_pre_changes_are_drawn_and_said(document):
    figure = draw_inspection(warned(document))
    told, pre = " ".join(texts(figure)), document["schemes"][0]["joint_logprob"]
    assert (
        "WARNING: SFT does not beat PRE" in told and "(nats)" in told and "recovered fraction of" not in told
    )
    np.testing.assert_allclose(image(figure).get_array(), np.array(document["map"]["joint_logprob"]) - pre)


@pytest.mark.parametrize(("n_tokens", "n_layers"), [(3, 2), (9, 6), (28, 48), (60, 12)])
@pytest.mark.parametrize("without_gain", [False, True])
def test_every_text_is_readable(document, n_tokens, n_layers, without_gain):
    found = enlarged(document, n_tokens, n_layers)
    figure = draw_inspection(warned(found) if without_gain else found)
    check_readable(figure)


def test_a_dollar_is_a_letter_and_begins_no_formula(document):
    found = enlarged(document, 9, 6)
    found["tokens"][4]["text"] = found["target"] = " $x$"
    figure = draw_inspection(found)
    written = [text for text in drawn_texts(figure) if "$" in text.get_text()]
    assert len(written) == 2 and not any(text.get_parse_math() for text in written)


def test_colours_say_the_sign_around_a_white_zero_and_do_not_stretch_beyond_one(document):
    figure = draw_inspection(enlarged(document, 9, 6, size=3.0))
    norm = image(figure).norm
    assert (norm.vmin, norm.vmax) == (-1, 1) and lightness(image(figure).cmap(0.5)[:3]) > 99


def test_numbers_stand_out_from_their_cells(document):
    figure = draw_inspection(enlarged(document, 9, 6, size=0.7))
    for text in figure.axes[0].texts:
        x, y = map(int, text.get_position())
        cell = image(figure).cmap(image(figure).norm(image(figure).get_array()[y, x]))[:3]
        assert abs(lightness(cell) - lightness(text.get_color())) >= 40


def test_sets_that_share_tokens_are_on_other_levels():
    placed = levels({"FE": [0, 1, 5], "M": [1, 2], "LT": [5]})
    assert placed == [("FE", 0, 1, 0), ("FE", 5, 5, 0), ("M", 1, 2, 1), ("LT", 5, 5, 1)]


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_the_same_numbers_give_the_same_file(document, tmp_path, ending):
    paths = [tmp_path / f"{i}{ending}" for i in range(2)]
    for path in paths:
        save_picture(document, path)
    assert paths[0].read_bytes() == paths[1].read_bytes() and paths[0].stat().st_size > 5000


def test_the_command_writes_the_picture(document):
    assert imread(document["picture"]).std() > 0.1


def test_tokens_are_text_with_the_space_in_front_or_bytes(tokenizer):
    def shown(text: str) -> list[str]:
        return [token_text(tokenizer, token) for token in tokenizer(text)["input_ids"]]

    assert shown(" Bob Ray")[0] == "<bos>" and "".join(shown(" Bob Ray")[1:]) == " Bob Ray"
    assert shown("\u20ac")[1:] == ["<0xE2>", "<0x82>", "<0xAC>"]
    assert visible(" Bob\n\t\x07") == "·Bob\u21b5\u21e5U+0007"
