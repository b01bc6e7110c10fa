"""Claims about facts of one's own: rows as the study's own, and one clear line where a file is wrong."""

import shutil
import time
from pathlib import Path

import pytest

from stages.evaluation.prompts import encode_rows
from stages.facts.own import fact_rows, prompt_rows, read_own, text_rows
from stages.facts.templates import position_sets, read_prompt_templates, read_training_forms
from stages.facts.world import build_world
from stages.generate_facts import base_texts, cast_texts
from stages.generate_facts import prompt_rows as study_prompt_rows
from stages.modeling.tokens import train_tokenizer
from stages.study.params import read_yaml
from weightgraft.errors import UserError

EXAMPLE = Path("examples/inventors")
OWN = read_own(EXAMPLE)
TEMPLATES = Path("data/templates")
WORLD = build_world(40, 6, 20, 30, seed=0, words=read_yaml(Path("data/words.yaml")))


def test_rows_have_the_form_of_the_studys_own():
    facts = WORLD.datasets["fmra"]
    prompts = [prompt for prompt in read_prompt_templates(TEMPLATES) if not prompt.other_name]
    assert set(prompt_rows(OWN)[0]) == set(study_prompt_rows(facts, prompts)[0])
    (text,) = cast_texts(facts[:1], ["{first_actor} and {second_actor}"])[:1]
    assert set(text_rows(OWN)[0]) == set(text)


def test_every_fact_is_told_in_every_sentence_and_asked_in_every_prompt():
    assert len(OWN.facts) == 40
    texts, prompts = text_rows(OWN), prompt_rows(OWN)
    assert len(texts) == 40 * len(OWN.sentences) and len(prompts) == 40 * len(OWN.prompts)
    for row in texts:
        cells = OWN.facts[row["fact_id"]].cells
        assert cells["inventor"] in row["text"] and cells["town"] in row["text"]
        assert not set("[]{}") & set(row["text"])
    lines = EXAMPLE.joinpath("facts.csv").read_text().splitlines()
    for row in fact_rows(OWN):
        assert lines[row["line"] - 1] == ",".join(row["cells"].values())
    assert [row["half"] for row in fact_rows(OWN)] == ["a", "b"] * 20


def test_a_text_is_of_direction_ab_where_the_subject_comes_first():
    for row in text_rows(OWN):
        cells = OWN.facts[row["fact_id"]].cells
        subject_first = row["text"].index(cells["inventor"]) < row["text"].index(cells["town"])
        assert row["direction"] == ("ab" if subject_first else "ba")
    assert OWN.directions == {"ab", "ba"}


def test_spans_hold_the_words_that_they_name_and_the_target_follows_the_prompt():
    for row in prompt_rows(OWN):
        cells = OWN.facts[row["fact_id"]].cells
        words = {name: [row["text"][start:end] for start, end in row["spans"][name]] for name in row["spans"]}
        assert words["FE"] == [cells["inventor"]] and words.get("M", [cells["invention"]]) == [
            cells["invention"]
        ]
        assert words["R"]
        start, end = row["target_span"]
        assert (row["text"] + row["target"])[start:end] == cells["town"]
    sets = {prompt.name: position_sets(prompt.template, prompt.sets) for prompt in OWN.prompts}
    assert sets["lives"] == {"FE", "R", "LT"} and sets["invention"] == {"FE", "M", "R", "LT"}


def test_a_prompt_is_seen_exactly_where_a_text_goes_on_with_its_target():
    texts = [row["text"] for row in text_rows(OWN)]
    for row in prompt_rows(OWN):
        told = any(row["text"] + row["target"] in text for text in texts)
        assert row["template_split"] == ("seen" if told else "held_out")
    assert {prompt.template_split for prompt in OWN.prompts} == {"seen", "held_out"}


@pytest.mark.parametrize("bos", [False, True])
def test_prompts_align_with_tokens_that_never_saw_these_words(bos):
    texts = base_texts(WORLD.base, read_training_forms(TEMPLATES), "all")
    tokenizer = train_tokenizer([row["text"] for row in texts], 700, bos)
    rows = prompt_rows(OWN)
    for row, prompt in zip(rows, encode_rows(tokenizer, rows), strict=True):
        (start, end) = row["spans"]["FE"][0]
        tokens = [prompt.tokens[token] for token in prompt.positions["FE"]]
        assert tokenizer.decode(tokens).strip() == row["text"][start:end]
        assert tokenizer.decode(prompt.target) == row["target"] and prompt.foil != prompt.target[0]


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "mine"))


def test_a_spreadsheets_csv_is_read(folder):
    rows = [
        "\ufefftown,inventor,invention,year",
        '"Åby, North",Zoë O\'Neil,"a ""big""\u2028 pump",1801',
        "",
        "Łódź,李四,x,1802",
        "",
    ]
    (folder / "facts.csv").write_bytes("\r\n".join(rows).encode())
    first, second = read_own(folder).facts
    assert first.cells == {
        "town": "Åby, North", "inventor": "Zoë O'Neil", "invention": 'a "big"\u2028 pump', "year": "1801",
    }  # fmt: skip
    assert (first.line, second.line, second.cells["inventor"]) == (2, 4, "李四")


def test_a_column_of_foils_is_asked_and_targets_may_begin_alike(folder):
    (folder / "facts.csv").write_text(
        "inventor,invention,town,year,wrong\nA,x,Rome,1,Oslo\nB,y,Riga,2,Bonn\n"
    )
    prompts = folder / "prompts.yaml"
    prompts.write_text(prompts.read_text() + "foil: wrong\n")
    assert [row["foil"] for row in prompt_rows(read_own(folder))[:: len(OWN.prompts)]] == [" Oslo", " Bonn"]


ASKED = "FE: inventor\ntarget: town\nprompts: "
HEADER = "inventor,invention,town,year\n"
TWO = HEADER + "Ann,the loom,Rome,1801\n"


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("facts.csv", None, ["facts.csv: no such file"]),
        ("facts.csv", "", ["facts.csv: no header"]),
        ("facts.csv", "Ann,x,Rome,1801\nBob,y,Oslo,1802\nCid,z,Bern,1803\n",
            ["prompts.yaml: FE", "no column 'inventor'", "Ann, x, Rome"]),
        ("facts.csv", "inventor;invention;town\nAnn;the loom;Rome\nBob;x;Oslo\n", ["no column 'inventor'", "parted by commas"]),
        ("facts.csv", "inventor,,town\na,b,c\n", ["no header: column 2"]),
        ("facts.csv", "inventor,town,town\na,b,c\n", ["'town' is there 2 times"]),
        ("facts.csv", TWO, ["too few facts, 1"]),
        ("facts.csv", TWO + "Bob,,Oslo,1802\n", ["facts.csv, line 3", "'invention' is empty"]),
        ("facts.csv", TWO + "Bob,the kiln,Oslo\n", ["facts.csv, line 3: 3 cells", "4: inventor"]),
        ("facts.csv", TWO + "Bob ,the kiln,Oslo,1802\n", ["facts.csv, line 3", "'inventor'", "'Bob '", "space"]),
        ("facts.csv", TWO + 'Bob,"the kiln,Oslo,1802\n', ["facts.csv, line 3", "end of data"]),
        ("facts.csv", TWO + "Bob,the kiln,Riga,1802\n", ["facts.csv: every town begins with 'R'", "foil"]),
        ("facts.csv", TWO + "Ann,the kiln,Oslo,1802\n",
            ["facts.csv, line 3", "inventor 'Ann' is in line 2, too", "prompt 'lives'"]),
        ("facts.csv", TWO + "Oslo Bay,the kiln,Oslo,1802\n", ["facts.csv, line 3", "town 'Oslo' is in prompt 'lives'", "Oslo Bay"]),
        ("facts.csv", (TWO + "Zo\xeb,the kiln,Oslo,1802\n").encode("latin-1"), ["facts.csv, line 3", "0xeb is not UTF-8"]),
        ("training.yaml", None, ["training.yaml: no such file"]),
        ("training.yaml", "ab: [x]", ["training.yaml: a list of sentences"]),
        ("training.yaml", "- [", ["training.yaml is not YAML"]),
        ("training.yaml", '- "{inventor} lives in {city}, {town}."', ["sentence 1", "no column 'city'", "valid: inventor", "town"]),
        ("training.yaml", '- "{inventor} is old."', ["sentence 1", "has no {town}"]),
        ("training.yaml", '- "{inventor [lives] in {town}."', ["sentence 1", "'{' is of no {column}"]),
        ("training.yaml", '- "{inventor} [lives in {town}."', ["sentence 1", "unpaired bracket"]),
        ("prompts.yaml", "- x", ["prompts.yaml: it must have the keys FE"]),
        ("prompts.yaml", "FE: inventor\ntarget: town\nprompt: {}", ["prompts.yaml: unknown key 'prompt'; did you mean 'prompts'?"]),
        ("prompts.yaml", "FE: inventor\ntarget: twon\nprompts: {a: '{inventor} in'}",
            ["target: no column 'twon'", "did you mean 'town'"]),
        ("prompts.yaml", ASKED + "{a: 'Who lives in'}", ["prompt 'a' has no FE, {inventor}"]),
        ("prompts.yaml", ASKED + "{a: '{inventor} in {town}'}", ["prompt 'a' gives the target, {town}, away"]),
        ("prompts.yaml", ASKED + "{a: '{inventor} in '}", ["prompt 'a' ends with a space"]),
        ("prompts.yaml", ASKED + "{a: '{inventer} in'}", ["prompt 'a'", "no column 'inventer'"]),
        ("prompts.yaml", "FE: inventor\ntarget: town\nmay_be_empty: [x]\nprompts: {a: '{inventor} in'}",
            ["may_be_empty: no column 'x'"]),
    ],
)  # fmt: skip
def test_a_fault_ends_in_one_line_that_names_the_file_and_the_place(folder, name, content, parts):
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as raised:
        read_own(folder)
    message = str(raised.value)
    assert all(part in message for part in parts) and str(folder) in message and "\n" not in message, message


def test_two_thousand_facts_are_checked_within_a_second(folder):
    rows = [f"Inventor{i},the thing {i},{'abcdefghij'[i % 10]}ton {i},1800" for i in range(2000)]
    (folder / "facts.csv").write_text(HEADER + "\n".join(rows) + "\n")
    start = time.process_time()
    assert len(read_own(folder).facts) == 2000
    assert time.process_time() - start < 1  # of the processor's time, which other work does not lengthen
