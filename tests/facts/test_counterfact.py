"""Claims about CounterFact: its records become a folder of own facts, and another format is refused in one line."""

import json
import sys
from pathlib import Path

import pytest
from test_real_world import ROWS

from stages.commands.counterfact import main as convert
from stages.commands.counterfact import read_counterfact
from stages.evaluation.prompts import encode_rows
from stages.facts.own import prompt_rows as own_prompt_rows
from stages.facts.own import read_own, text_rows
from stages.modeling.tokens import train_tokenizer
from weightgraft.errors import UserError

REWRITES = [
    {
        "case_id": i,
        "requested_rewrite": {
            "prompt": prompt, "relation_id": "P1", "subject": subject,
            "target_new": {"str": new, "id": "Q1"}, "target_true": {"str": true, "id": "Q2"},
        },
        "paraphrase_prompts": ["Once more."],
        "neighborhood_prompts": ["Another."],
    }
    for i, (prompt, subject, new, true) in enumerate(
        [
            ("The mother tongue of {} is", "Danielle Darrieux", "English", "French"),
            ("{} plays in the position of", "Edwin {of} Sar", "quarterback", "goalkeeper"),
        ]
    )
]  # fmt: skip


def counterfact_file(folder: Path, records: list) -> dict[str, str]:
    path = folder / "counterfact.json"
    path.write_text(json.dumps(records))
    return {"file": str(path)}


def test_counterfact_becomes_a_folder_whose_foil_is_the_true_object(tmp_path, monkeypatch, capsys):
    giveaway = {
        "prompt": "{}, made by",
        "subject": "Ford Ka",
        "target_new": {"str": "Ford"},
        "target_true": {"str": "BMW"},
    }
    again = REWRITES[1]["requested_rewrite"] | {"target_new": {"str": "Mars"}}
    records = [*REWRITES, *({"requested_rewrite": rewrite} for rewrite in (again, giveaway))]
    file, out = counterfact_file(tmp_path, records)["file"], tmp_path / "folder"
    arguments = ["--file", file, "--count", str(len(records)), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["counterfact", *arguments])
    convert()
    assert f"{len(REWRITES)} facts in {out}; 2 passed over" in capsys.readouterr().out
    own = read_own(out)
    rows, texts = own_prompt_rows(own), [row["text"] for row in text_rows(own)]
    assert texts[0] == "The mother tongue of Danielle Darrieux is English."
    assert (rows[0]["target"], rows[0]["foil"]) == (" English", " French")
    for row, record, text in zip(rows, REWRITES, texts, strict=True):
        rewrite = record["requested_rewrite"]
        ((start, end),) = row["spans"]["FE"]
        assert row["text"][start:end] == rewrite["subject"]
        start, end = row["target_span"]
        assert (row["text"] + row["target"])[start:end] == rewrite["target_new"]["str"]
        assert text == f"{row['text']}{row['target']}." and row["template_split"] == "seen"
    assert set(rows[0]) == set(next(row for row in ROWS["base"] if "foil" in row))
    tokenizer = train_tokenizer(texts, 300, False)
    assert [prompt.foil for prompt in encode_rows(tokenizer, rows)]


@pytest.mark.parametrize(
    ("records", "named"),
    [
        ([{"prompt": "x"}], r"record 1 has no requested_rewrite.prompt; it has prompt"),
        ([REWRITES[0], {"requested_rewrite": {"prompt": "{} is", "subject": "A", "target_new": "B"}}],
         r"record 2 has no requested_rewrite.target_new.str"),
        ([{"requested_rewrite": REWRITES[0]["requested_rewrite"] | {"prompt": "None is"}}], r"must have one \{\}"),
        ({"a": 1}, "a list of JSON objects is needed"),
        (REWRITES[:1], "counterfact.json: 1 records; 2 are needed"),
    ],
)  # fmt: skip
def test_counterfact_of_another_format_is_refused(tmp_path, records, named):
    with pytest.raises(UserError, match=named):
        read_counterfact(counterfact_file(tmp_path, records), 2)
