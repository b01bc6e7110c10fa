"""Claims about general texts beside the films': read line by line, or of the hub at their commit, or refused by name."""

import sys
from pathlib import Path

import pytest

from stages.facts.general_text import general_texts
from weightgraft.errors import UserError


def test_general_text_is_read_line_by_line_without_headings(tmp_path):
    text = tmp_path / "wiki.train.raw"
    text.write_text(" \n = Valkyria = \n A first line \u2028 goes on . \n\n A second one . \n")
    assert general_texts({"file": str(text)}, 2) == ["A first line \u2028 goes on .", "A second one ."]
    lines = tmp_path / "texts.jsonl"
    lines.write_text('{"text": "One."}\n{"text": ""}\n{"text": "Two."}\n')
    assert general_texts({"file": str(lines)}, 2) == ["One.", "Two."]
    with pytest.raises(UserError, match=r"texts.jsonl: 2 texts; 3 are needed"):
        general_texts({"file": str(lines)}, 3)


def test_local_text_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.json: no such file"):
        general_texts({"file": "nowhere.json"}, 1)
    path = tmp_path / "cut.json"
    path.write_text('[{"text": ')
    with pytest.raises(UserError, match=r"cut.json: damaged"):
        general_texts({"file": str(path)}, 1)


HUB = {"dataset": "some/text", "revision": "0" * 40, "config": "small", "split": "train"}


def test_a_hub_dataset_without_the_library_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"some/text: .*not installed: pip install '.\[real\]'"):
        general_texts(HUB, 1)


def test_a_hub_dataset_is_asked_for_at_its_commit(monkeypatch):
    asked = []

    class Library:
        @staticmethod
        def load_dataset(name, config, split, revision):
            asked.append((name, config, split, revision))
            if config == "big":
                raise ValueError("BuilderConfig 'big'\nnot found")
            return [{"text": "One."}, {"text": "Two."}]

    monkeypatch.setitem(sys.modules, "datasets", Library)
    assert general_texts(HUB, 2) == ["One.", "Two."]
    assert asked == [("some/text", "small", "train", "0" * 40)]
    with pytest.raises(
        UserError, match=r"some/text \(config big, split train\): not loaded: .*'big' not found$"
    ):
        general_texts(HUB | {"config": "big"}, 1)


def test_the_extra_that_the_message_names_exists():
    assert "datasets" in Path("pyproject.toml").read_text().split("\nreal = [")[1].split("]")[0]
