"""Files that are there by name and cannot be read: one line that says what to do; nothing waits, or is passed over."""

import os
from pathlib import Path

import pytest
from checkpoints import answer, copied, loaded

from weightgraft import GraftedModel
from weightgraft.errors import UserError
from weightgraft.inspection.folders import check_folders
from weightgraft.loading.tokenizers import load_tokenizers

OF_A_MODEL = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "merges.txt",
    "model.safetensors",
)
OF_AN_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def linked_to_nowhere(path: Path) -> None:
    path.symlink_to("../../blobs/4665")


def linked_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


SPOILT = {
    linked_to_nowhere: "is a link to a file that is not there (../../blobs/4665); copy the file itself",
    linked_to_itself: "cannot be read (Too many levels of symbolic links); copy the file itself",
    a_folder: "is a folder; put the file of this name in its place",
    a_pipe: "is a pipe or a device; copy the file itself",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("name", [*OF_A_MODEL, *OF_AN_ADAPTER])
def test_a_name_without_a_file_behind_it_is_told(folder, tmp_path, name, spoil):
    spoilt = copied(folder / ("qv" if name in OF_AN_ADAPTER else "sft"), tmp_path / "spoilt")
    (spoilt / name).unlink(missing_ok=True)
    spoil(spoilt / name)
    assert f": {name} {SPOILT[spoil]}" in answer(folder / "base", spoilt).line
    if name in OF_A_MODEL:
        assert f"--recipient {spoilt}: {name} {SPOILT[spoil]}" in answer(spoilt, folder / "sft").line
    else:
        with pytest.raises(ValueError) as told:
            GraftedModel(loaded(folder / "base"), {"sft": spoilt})
        assert str(told.value).startswith(f"donor 'sft': {spoilt}: {name} {SPOILT[spoil]}")


@pytest.mark.parametrize("name", [*OF_A_MODEL[:2], OF_A_MODEL[-1], *OF_AN_ADAPTER])
def test_a_file_that_one_may_not_read_is_told(folder, tmp_path, monkeypatch, name):
    spoilt = copied(folder / ("qv" if name in OF_AN_ADAPTER else "sft"), tmp_path / "spoilt")
    opened = Path.open

    def forbidden(path, *given, **named):
        if path == spoilt / name:
            raise PermissionError(13, "Permission denied")
        return opened(path, *given, **named)

    monkeypatch.setattr(Path, "open", forbidden)
    line = answer(folder / "base", spoilt).line
    assert (
        f"{name} cannot be read (Permission denied); copy the file itself, and see that you may read it"
        in line
    )


@pytest.mark.parametrize("name", ["config.json", "adapter_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; copy it again"),
        (b" \n", "is empty; copy it again"),
        (b"[1]", "holds no settings but [1]; copy it again"),
        (b"3", "holds no settings but 3; copy it again"),
        (b"null", "holds no settings but None; copy it again"),
        (b'{"a": "\xff"}', "is no JSON: 'utf-8' codec can't decode"),
        (b"[" * 10**5, "is no JSON: "),
    ],
)
def test_settings_that_are_none_are_told(folder, tmp_path, name, content, words):
    spoilt = copied(folder / ("qv" if name in OF_AN_ADAPTER else "sft"), tmp_path / "spoilt")
    (spoilt / name).write_bytes(content)
    with pytest.raises(UserError) as told:
        check_folders(folder / "base", {"sft": spoilt})
    line = str(told.value)
    assert line.startswith(f"--donor sft={spoilt}: {name} {words}") and "\n" not in line
    assert line.endswith("copy it again")


def test_a_file_that_nobody_reads_may_be_unreadable(folder, tmp_path, monkeypatch):
    spoilt = copied(folder / "sft", tmp_path / "spoilt")
    for path in (folder / "base", spoilt):
        (path / "notes.md").write_text("mine")

    def forbidden(*given, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filecmp.cmp", forbidden)
    check_folders(folder / "base", {"sft": spoilt})
    assert {*load_tokenizers(folder / "base", {"sft": spoilt})} == {"recipient", "sft"}
    (folder / "base" / "notes.md").unlink()


def test_weights_without_a_byte_are_told(folder, tmp_path):
    for source, name in (("sft", "model.safetensors"), ("qv", "adapter_model.safetensors")):
        spoilt = copied(folder / source, tmp_path / source)
        (spoilt / name).write_bytes(b"")
        line = answer(folder / "base", spoilt).line
        assert (
            f"{name} is cut short or no safetensors file: 0 bytes without a whole header; copy it again"
            in line
        )


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("x" * 300, "cannot be looked into (File name too long); give a directory that you may read"),
        ("x/" * 3000, "cannot be looked into (File name too long)"),
        ("sft/config.json", "a file; give the directory that holds the model"),
        ("sft/config.json/x", "no such directory"),
        ("a\0b", "no such directory"),
        ("\udcff", "the folder's name is no UTF-8; rename it"),
    ],
)
def test_a_path_that_is_no_folder_is_told(folder, tmp_path, path, words):
    os.symlink(folder / "sft", os.fsencode(tmp_path / "\udcff"))
    os.symlink(folder / "sft", tmp_path / "sft")
    lines = [answer(folder / "base", tmp_path / path).line, answer(tmp_path / path, folder / "sft").line]
    with pytest.raises(ValueError) as told:
        GraftedModel(loaded(folder / "base"), {"sft": tmp_path / path})
    for line in (*lines, str(told.value)):
        assert words in line, line
        line.encode()  # can be printed anywhere
