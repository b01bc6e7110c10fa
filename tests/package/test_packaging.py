"""Claims about the package weightgraft: it is installed without the study, and needs nothing of it."""

import ast
import gc
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from closure import ROOT
from tiny_models import tiny_model

from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from weightgraft import cli
from weightgraft.cli import COMMANDS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What the README's example asks: the models know these words.
TEXTS = ["Kate Winslet stars in a film with Leonardo", "Tim Roth stars in a film with Amanda"] * 4


def name_of(pin: str) -> str:
    return re.split(r"[=<>~!\[ ]", pin)[0]


def imported_by(folder: Path) -> set[str]:
    """The first part of every module that a package's files name in an import, but its own."""
    named = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                named.add(node.module.split(".")[0])
    return named - {folder.name}


def test_weightgraft_imports_its_base_dependencies_and_nothing_else():
    """So neither the study nor its libraries. The server is the explorer's alone, an extra. transformers and torch themselves need
    the two whose errors are caught: no version of them can be without. Where pandas is missing, Scores.to_frame says so."""
    caught, optional = {"huggingface_hub", "jinja2"}, {"pandas"}
    imported = imported_by(ROOT / "weightgraft") - set(sys.stdlib_module_names)
    server = {name_of(pin) for pin in PROJECT["optional-dependencies"]["explore"]}
    assert imported - caught - optional - server == {name_of(pin) for pin in PROJECT["dependencies"]}
    with_server = [
        path for path in (ROOT / "weightgraft").iterdir() if path.is_dir() and imported_by(path) & server
    ]
    assert [path.name for path in with_server] == ["explorer"]
    needed = [*requires("transformers"), *requires("torch")]
    names = {
        re.split(r"[^\w-]", line)[0].replace("-", "_").lower() for line in needed if "extra ==" not in line
    }
    assert caught <= names


def test_every_pin_is_in_the_lock():
    lock = {line.lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    extras = PROJECT["optional-dependencies"]
    installed = [
        *PROJECT["dependencies"],
        *(pin for extra in ("study", "gguf", "explore", "notebook", "test") for pin in extras[extra]),
    ]
    assert {pin.lower() for pin in installed} <= lock


def test_make_has_installed_with_the_pip_of_the_lock():
    assert f"pip=={version('pip')}" in (ROOT / "requirements.lock").read_text().splitlines()


def test_who_imports_the_old_name_is_told_the_new_one():
    for old in ("stages.grafting", "stages.grafting.model"):
        with pytest.raises(ImportError) as raised:
            __import__(old)
        assert "from weightgraft import GraftedModel" in str(raised.value) and "\n" not in str(raised.value)


def test_what_a_command_has_imported_is_not_looked_through_by_its_collections():
    """Nor at its exit, which with torch and transformers costs more than a second."""
    script = "import gc, json; from weightgraft.errors import run_main; run_main(lambda: print(gc.get_freeze_count()))"
    frozen = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(frozen.stdout) > 1000


def test_the_command_looks_for_garbage_seldom_from_its_start_on(monkeypatch, capsys):
    """Its libraries are imported inside of it, so that what is frozen before does not have them."""
    before = gc.get_threshold()
    monkeypatch.setattr(sys, "argv", ["weightgraft"])
    try:
        gc.set_threshold(700)
        cli.run()
        assert gc.get_threshold()[0] >= 50_000 and "commands:" in capsys.readouterr().out
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def test_what_a_command_has_made_is_not_looked_through_when_it_ends():
    run = "from weightgraft import cli; cli.main = lambda: None; cli.run()"
    told = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()))"  # called after what is registered later
    more = "more = [[] for _ in range(100_000)]"  # as what a command imports while it runs
    script = f"{told}; {run}; {more}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 100_000


def test_names_and_errors_cost_no_torch():
    script = "import sys, weightgraft.cli, weightgraft.progress, weightgraft.loading.folders; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A fresh environment with the project from its wheel alone, beside the libraries of this one, which nothing downloads."""
    folder = tmp_path_factory.mktemp("package")
    source, environment = folder / "source", folder / "environment"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("weightgraft", "stages"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))

    def pip(*words: str | Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)],
            check=True,
        )

    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    made = environment / "bin/python"
    (wheel,) = folder.glob("weightgraft-*.whl")
    pip("--python", made, "install", "--no-index", "--no-deps", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))  # its own .pth are not read
    return made


def run(python: Path, *words: str, folder: Path) -> str:
    """What a command of the environment prints, in another folder than the checkout's."""
    program = {"python": python}.get(words[0], python.with_name(words[0]))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COLUMNS")}
    environment["PYTHONPATH"] = str(ROOT / "tests/guarded")
    done = subprocess.run(
        [program, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with the two checkpoints that the README's example names."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer(TEXTS, 330, bos=True)
    for seed, name in enumerate(("base", "finetuned")):
        save_model(
            tiny_model("gpt2", seed=seed, vocab_size=len(tokenizer)), tokenizer, folder / "path/of" / name
        )
    return folder


def test_the_wheel_has_the_code_its_types_and_its_licence_and_no_tests(python, tmp_path):
    told = run(
        python,
        *("python", "-c"),
        "import weightgraft, importlib.metadata as m; print(weightgraft.__file__, weightgraft.__version__);"
        "print(*[str(f) for f in m.files('weightgraft')])",
        folder=tmp_path,
    )
    first, files = told.splitlines()
    where, version = first.split()
    assert Path(where).is_relative_to(python.parents[1]) and version == PROJECT["version"]
    page = {
        f"stages/reporting/{name}"
        for name in ("report.html.j2", "macros.html.j2", "record.html.j2", "report.css", "report.js")
    }
    assert {"weightgraft/py.typed", *page} <= {*files.split()}
    assert {f"weightgraft/explorer/page/{name}" for name in ("page.html", "page.js")} <= {*files.split()}
    assert "LICENSE" in files and "tests/" not in files and "data/" not in files


def test_readmes_example_runs_where_only_the_wheel_is_installed(python, models):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    example = next(block for block in blocks if "from weightgraft import" in block)
    script = f"{example}\nimport weightgraft\nprint(weightgraft.__file__)\n"
    *lines, where = run(python, "python", "-c", script, folder=models).splitlines()
    assert Path(where).is_relative_to(python.parents[1])
    assert len(lines) >= 2 and all("'FE+LT':" in line and "'PRE':" in line for line in lines), lines


def test_weightgraft_inspect_runs_where_only_the_wheel_is_installed(python, models, tmp_path):
    question = [
        "--recipient",
        "path/of/base",
        "--donor",
        "sft=path/of/finetuned",
        "--out",
        f"{tmp_path}/a.png",
    ]
    question += ["--prompt", "Kate Winslet stars in a film with", "--span", "FE=Kate Winslet"]
    told = run(python, "weightgraft", "inspect", *question, "--target", " Leonardo", folder=models)
    assert "FE+LT" in told and (tmp_path / "a.png").stat().st_size > 10_000


def test_help_fits_a_terminal_of_80_columns_and_names_every_command(python, tmp_path):
    told = run(python, "weightgraft", folder=tmp_path)
    assert told == run(python, "python", "-m", "weightgraft", "--help", folder=tmp_path)
    assert all(f"\n  {name} " in told for name in COMMANDS)
    told += "".join(run(python, "weightgraft", name, "--help", folder=tmp_path) for name in COMMANDS)
    assert max(len(line) for line in told.splitlines()) <= 80
    assert run(python, "weightgraft", "--version", folder=tmp_path) == f"weightgraft {PROJECT['version']}\n"
