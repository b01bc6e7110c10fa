"""What a command puts out is there whole, or one line says why not: no traceback, and no half of a file."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from weightgraft.errors import UserError
from weightgraft.inspection import command as inspect_command
from weightgraft.inspection import picture
from weightgraft.inspection.picture import save_picture
from weightgraft.output import GONE, INTERRUPTED, check_writable, say, written

SAYING = "from weightgraft import cli, output\ncli.main = lambda: {}\ncli.run()"
BUFFERED = os.environ | {"PYTHONUNBUFFERED": ""}  # as it is where nobody asks for anything else


def ran(code: str, **options) -> subprocess.CompletedProcess:
    """A command whose main() is this expression."""
    return subprocess.run(
        [sys.executable, "-c", SAYING.format(code)], stderr=subprocess.PIPE, text=True, check=False, **options
    )


@pytest.mark.parametrize(
    "code", ["output.say('x' * 100_000)", "output.say('x')", "cli.parser().print_help()"]
)
def test_a_reader_that_has_gone_ends_a_command_quietly(code):
    reading, writing = os.pipe()
    os.close(reading)
    done = ran(code, stdout=writing, env=BUFFERED)
    os.close(writing)
    assert (done.returncode, done.stderr) == (GONE, "")


@pytest.mark.parametrize("code", ["output.say('x')", "cli.parser().print_help()"])
def test_a_full_device_is_one_line(code):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = ran(code, stdout=full, env=BUFFERED)
    assert done.returncode == 1
    assert done.stderr == "error: stdout cannot be written to: No space left on device\n"


def test_a_closed_stdout_is_one_line():
    done = ran("output.say('x')", preexec_fn=lambda: os.close(1))
    assert done.returncode == 1
    assert (
        done.stderr.startswith("error: stdout is closed: nothing can be printed")
        and done.stderr.count("\n") == 1
    )


def test_an_interruption_is_one_word():
    done = ran("exec('raise KeyboardInterrupt')")
    assert (done.returncode, done.stderr) == (INTERRUPTED, "interrupted\n")


def test_help_and_version_wait_for_no_torch():
    for asked in (["--help"], ["--version"], ["inspect", "--help"], ["explore", "--help"]):
        code = f"import atexit, sys; sys.argv[1:] = {asked}; from weightgraft import cli\n"
        code += "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); cli.run()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr == "False\n" and "weightgraft" in done.stdout


def test_characters_that_stdout_does_not_have_are_written_as_codes(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii"))
    say("Zoë 李 \udcff")
    assert out.getvalue() == b"Zo\\xeb \\u674e \\udcff\n"


def test_an_inspection_is_printed_whatever_stdout_can_say(command, monkeypatch, tmp_path):
    path = tmp_path / "Zoë\udcff.png"
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii"))
    arguments = command("--json", prompt="Zoë 李 with", spans={}, foil=None, out=path)
    inspect_command.main(arguments)
    found = json.loads(out.getvalue())
    assert found["prompt"] == "Zoë 李 with" and found["picture"] == str(path) and path.exists()


@pytest.mark.parametrize(
    "place", ["file/x.png", "folder.png", "nowhere/x.png", "gone.png", "loop.png", "long.png"]
)
def test_a_picture_that_cannot_be_written_is_told_before_any_work(tmp_path, place):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere/x.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    path = tmp_path / place.replace("long", "long" * 100)
    models = ["--recipient", "nowhere", "--donor", "sft=nowhere", "--prompt", "a", "--target", " b"]
    with pytest.raises(UserError) as told:
        inspect_command.main([*models, "--out", str(path)])
    assert str(told.value).startswith(f"--out {path}: ") and "\n" not in str(told.value)


def test_a_directory_in_which_nothing_can_be_made_is_told():
    with pytest.raises(
        UserError, match=r"^--out: no file can be written there: No such file or directory; give"
    ):
        check_writable("--out", Path("/proc/x.png"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_where_writing_fails(tmp_path, error):
    path = tmp_path / "x.png"
    path.write_text("before")
    with pytest.raises((UserError, KeyboardInterrupt)), written("--out", path) as file:
        file.write_text("half")
        raise error
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]


def test_a_link_stays_one_and_a_check_leaves_nothing(tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(tmp_path / "x.png")
    check_writable("--out", link)
    assert [*tmp_path.iterdir()] == [link]
    with written("--out", link) as file:
        file.write_text("whole")
    assert link.is_symlink() and (tmp_path / "x.png").read_text() == "whole"


def test_a_picture_of_many_tokens_has_as_many_pixels_as_can_be_drawn(document, tmp_path, monkeypatch):
    monkeypatch.setattr(picture, "MOST_PIXELS", 300)
    path = tmp_path / "x.PNG"  # capitals are no other ending
    inspect_command.check_out(path)
    save_picture(document, path)
    assert 250 < max(imread(path).shape) <= 300
