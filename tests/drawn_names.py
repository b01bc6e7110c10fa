"""Names of people and films in all scripts, and the study's prompts about them, for property tests to draw."""

# ruff: noqa: RUF001
# The letters that ruff takes for slips are those of the names.

import unicodedata
from pathlib import Path

import hypothesis.strategies as st

from stages.facts.templates import read_prompt_templates, render

TEMPLATES = [template.template for template in read_prompt_templates(Path("data/templates"))]

# The words of names: whole ones, which the large vocabularies know, and letters in any order, which none does.
WORDS = {
    "ascii": (["Ada", "Lovelace", "Bob", "Byron", "X"], "abcdeQZ"),
    "like the templates": (["Q", "A", "stars", "In", "movie", "An actor named", "The"], "AQa"),
    "accents": (["Zoë", "Brontë", "Siobhán", "Đặng", "Ngọc", "Ærø", "İpek"], "éñüøßłőçǻ"),
    "punctuation": (["O'Connor", "D’Arcy", "Mary-Ann", "J. R.", "will.i.am", "A$AP", "'t", "?", "P!nk"], ".'’-!?,"),
    "Cyrillic": (["Мира", "Козлова", "Й"], "ЖЯйёїщ"),
    "Greek": (["Ζωή", "Παππά"], "ΑΩάϊΰς"),
    "CJK": (["李", "小龙", "三船", "한효주"], "李龍カナ한"),
    "Arabic": (["فاتن", "حمامة", "مُنَى"], "بتثُِّلا"),
    "Devanagari": (["दीपिका", "पादुकोण", "क़ादिर"], "कखिंड़्य"),
    "emoji": (["😀", "👩‍🚀", "🇬🇧"], "😀👍🏽"),
    "compatibility": (["ﬁn", "Ｂｏｂ", "№1", "½"], "ﬁ²Ⅻ…"),
}  # fmt: skip
WORD = st.one_of(
    *(st.sampled_from(whole) for whole, _ in WORDS.values()),
    *(st.text(letters, min_size=1, max_size=9) for _, letters in WORDS.values()),
)


@st.composite
def names(draw: st.DrawFn) -> str:
    """One to four words, joined as names are, in either of the two ways in which Unicode writes accents."""
    name = draw(WORD)
    for joint in draw(st.lists(st.sampled_from([" ", " ", "-", "’", "  ", "\u00a0"]), max_size=3)):
        name += joint + draw(WORD)
    form = draw(st.sampled_from(["NFC", "NFD"]))
    return unicodedata.normalize(form, name + draw(st.sampled_from(["", "", " Jr.", ", Inc.", "'"])))


# The film may be named after the actor, and the answer may be the actor.
QUESTIONS = st.fixed_dictionaries(
    {
        "template": st.sampled_from(TEMPLATES),
        "actor": names(),
        "title": names() | st.sampled_from(["{actor}", "The {actor}", "{actor} and {actor}"]),
        "answer": names() | st.just("{actor}"),
        "foil": names(),
    }
)


def row_of(drawn: dict) -> dict:
    """A prompt of the study about drawn names."""
    actor, title, answer = (
        drawn[key].replace("{actor}", drawn["actor"]) for key in ("actor", "title", "answer")
    )
    rendered = render(drawn["template"], {"first_actor": actor, "movie_title": title})
    return {
        "fact_id": 7,
        "template": drawn["template"],
        "direction": "ab",
        "text": rendered.text,
        "target": f" {answer}",
        "foil": f" {drawn['foil']}",
        "spans": rendered.spans,
    }
