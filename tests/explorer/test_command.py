"""The command: what it refuses before it loads anything, where it listens, and colours that are those of the figures."""

import re
import socket
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import uvicorn
from closure import ROOT

import weightgraft
from stages.study.params import read_yaml
from weightgraft.cli import main
from weightgraft.errors import UserError
from weightgraft.explorer import command
from weightgraft.explorer.command import bound, check_server, fragment, parsed

PAGE = Path(weightgraft.__file__).parent / "explorer/page"
MODELS = ["--recipient", "base", "--donor", "sft=sft"]


def test_without_its_server_one_line_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "starlette" else object())
    with pytest.raises(UserError, match=r"pip install 'weightgraft\[explore\]'") as raised:
        main(["explore", *MODELS])
    assert "\n" not in str(raised.value) and "uvicorn" not in str(raised.value)


def test_the_server_is_there_in_the_projects_own_environment():
    check_server()


def test_only_the_loopback_is_listened_on():
    with bound(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
    assert not [
        line
        for line in (ROOT / "weightgraft/explorer/command.py").read_text().splitlines()
        if "--host" in line
    ]


def test_a_port_that_is_taken_is_named():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {number}: .*choose another one"):
            bound(number)
    with pytest.raises(UserError, match="--port 99999: a port is a number"):
        bound(99999)


def test_what_is_asked_first_is_in_the_address():
    given = parsed(
        [*MODELS, "--prompt", "Ann Lee & co", "--target", " Bob", "--span", "FE=Ann Lee", "--scheme", "FE+LT"]
    )
    assert parse_qs(fragment(given).removeprefix("#")) == {
        "prompt": ["Ann Lee & co"],
        "target": [" Bob"],
        "span": ["FE:0:7"],
        "scheme": ["FE+LT"],
    }
    assert fragment(parsed(MODELS)) == ""
    with pytest.raises(UserError, match="give --prompt too"):
        fragment(parsed([*MODELS, "--target", " Bob"]))


@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        ("FE+", "character 4"),
        ("nobody:LT", "no donor 'nobody'"),
        ("FE", "no position set 'FE'"),
        ("\udcff", "no meaning"),
    ],
)
def test_a_scheme_that_cannot_be_read_is_told_before_anything_is_loaded(scheme, told):
    with pytest.raises(UserError, match=told):
        main(["explore", *MODELS, "--prompt", "Ann Lee & co", "--scheme", scheme])


def test_control_c_is_how_it_ends(folder, monkeypatch, capsys):
    def pressed(self, sockets):
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", pressed)
    main(["explore", "--recipient", str(folder / "base"), "--donor", f"sft={folder / 'sft'}", "--port", "0"])
    assert capsys.readouterr().out.endswith("/\nControl-C ends it\n")


def test_a_folder_that_is_no_model_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UserError, match="--recipient"):
        main(["explore", "--recipient", str(tmp_path), "--donor", f"sft={tmp_path}"])


def test_the_page_has_the_colours_of_the_figures():
    colours = read_yaml(ROOT / "params.yaml")["render_figures"]["colours"]
    css = dict(re.findall(r"--([\w-]+): (#\w+);", (PAGE / "page.css").read_text().partition("@media")[0]))
    for name in ("FE", "LT", "M", "R"):
        assert css[name] == colours[name]
    assert (css["pre"], css["donor-0"]) == (colours["PRE"], colours["SFT"])


def test_the_page_is_in_the_package():
    names = {path.name for path in PAGE.iterdir()}
    assert names == {"page.html", "page.css", "page.js", "grid.js", "state.js"}
    assert "explorer/page/*" in (ROOT / "pyproject.toml").read_text()
