"""Claims about examples/quickstart.ipynb and about make notebook: what is committed was run from top to bottom, and it runs."""

import ast
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from closure import ROOT
from tiny_models import tiny_model

from stages.commands.notebook import cleaned, executed
from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from weightgraft.errors import UserError

PATH = ROOT / "examples/quickstart.ipynb"
NOTEBOOK = nbformat.read(PATH, as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
FACTS = pd.read_csv(ROOT / "examples/demo/facts.csv")
# A folder of someone's machine, and an address in its memory.
OF_A_MACHINE = re.compile(
    r"(?<![\w.])/(?:home|root|work|tmp|usr|opt|var|mnt|Users)/|\b0x[0-9a-f]{6,}|[A-Z]:\\"
)


def shown(cell) -> list[str]:
    """The kinds of what a cell shows."""
    kinds = [[*output.data] if "data" in output else [output.output_type] for output in cell.outputs]
    return [kind for some in kinds for kind in some]


def shows_something(source: str) -> bool:
    """Whether a cell prints, draws, or ends in a value."""
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    ends_in_value = isinstance(ast.parse(source).body[-1], ast.Expr)
    return ends_in_value or bool(called & {"print", "plot_map"})


def tables() -> list[pd.DataFrame]:
    """The recovered fractions that the committed outputs show: of all facts, and of the two donors."""
    found = []
    for cell in CODE:
        for output in cell.outputs:
            text = output.get("data", {}).get("text/html", "")
            rows = [
                [
                    html.unescape(value).strip()
                    for value in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
                ]
                for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.DOTALL)
            ]
            if any(row[:1] == ["scheme"] for row in rows):
                columns, values = rows[0][1:], [row for row in rows[1:] if len(row) > 1 and row[1]]
                found.append(
                    pd.DataFrame([row[1:] for row in values], [row[0] for row in values], columns).astype(
                        float
                    )
                )
    return found


def test_the_notebook_runs_from_top_to_bottom_on_a_tiny_model(tmp_path, monkeypatch):
    texts = [f"{fact.actor} stars in a movie alongside {fact.partner}" for fact in FACTS.itertuples()]
    tokenizer = train_tokenizer(texts * 4, 400, bos=True)
    for seed, name in enumerate(("PRE", "SFT")):
        model = tiny_model("llama", seed=seed, vocab_size=len(tokenizer))
        save_model(model, tokenizer, tmp_path / name)
        monkeypatch.setenv(f"WEIGHTGRAFT_{name}", str(tmp_path / name))
    monkeypatch.chdir(PATH.parent)
    names: dict = {}
    with matplotlib.rc_context({"backend": "agg"}), pd.option_context("display.float_format", None):
        plt.close("all")
        for cell in CODE:
            exec(compile(cell.source, "<cell>", "exec"), names)
        drawn = [len(plt.figure(number).axes) for number in plt.get_fignums()]
        plt.close("all")
    assert list(names["table"].prompt.unique()) == list(FACTS.actor)
    assert (
        list(names["table"].scheme.unique())
        == names["notations"]
        == list(names["recovered"](names["table"]).index)
    )
    for values in names["columns"].values():
        assert values.loc[["PRE", "SFT"]].tolist() == [0, 1] and 0 < abs(values["FE"]) != 1
    assert drawn == [2, 4]  # a map, and two beside each other, each with its bar of colours
    weights = dict(names["pre"].named_parameters())
    assert all(
        (weights[name] != other).any() for name, other in names["sft"].named_parameters() if other.dim() > 1
    )


def test_the_committed_outputs_are_of_one_run_from_top_to_bottom():
    assert [cell.execution_count for cell in CODE] == [*range(1, len(CODE) + 1)]
    assert [bool(shown(cell)) for cell in CODE] == [shows_something(cell.source) for cell in CODE]
    kinds = [kind for cell in CODE for kind in shown(cell)]
    assert "error" not in kinds and kinds.count("image/png") == 2 and kinds.count("text/html") >= 5


def test_nothing_in_it_is_of_the_machine_that_ran_it():
    text = PATH.read_text(encoding="utf-8")
    assert not OF_A_MACHINE.search(re.sub(r'"image/png": "[^"]*"', "", text))
    assert OF_A_MACHINE.search('"see /home/ann/x"') and OF_A_MACHINE.search("<Axes at 0x7f12ab34>")
    assert {*NOTEBOOK.metadata.language_info} == {"name"} and not any(
        cell.metadata for cell in NOTEBOOK.cells
    )


def test_its_bytes_are_those_that_make_notebook_writes(tmp_path):
    nbformat.write(cleaned(nbformat.read(PATH, as_version=4), ROOT), tmp_path / "again.ipynb")
    assert (tmp_path / "again.ipynb").read_bytes() == PATH.read_bytes()


def test_its_code_is_formatted_and_clean():
    for words in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, PATH], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_its_links_lead_to_pages_that_exist():
    links = re.findall(r"\]\(([^)#\s]+)", "\n".join(cell.source for cell in NOTEBOOK.cells))
    assert len(links) >= 5 and all((PATH.parent / link).is_file() for link in links if "://" not in link)


def test_what_its_sentences_say_is_what_its_tables_show():
    """Else the sentences have to be written anew."""
    twelve, donors = tables()
    whole = twelve["recovered fraction"]
    assert whole["FE+LT"] > 0.9 and whole["(FE+LT)^C"] < 0.1  # almost everything, almost nothing
    assert 0.2 < whole["FE"] < 0.8 and 0.2 < whole["LT"] < 0.8  # each place alone: a part
    one = donors["LoRA on one fact"]
    assert one["LT"] > 0.9 > donors["finetuned on twelve facts"]["LT"]  # in the adapter nearly everything


def made_up(*sources: str):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), *cells])


def test_what_changes_from_run_to_run_is_left_out(tmp_path):
    output = nbformat.v4.new_output

    def run(time: str, root: Path):
        notebook = made_up("1")
        notebook.cells[1].metadata = {"execution": {"iopub.execute_input": time}}
        notebook.cells[1].execution_count = 1
        notebook.cells[1].outputs = [
            output("stream", name="stderr", text=f"Loading 100% {time}"),
            output("stream", name="stdout", text=f"read {root}/data/x.csv"),
            output("execute_result", data={"text/plain": f"'{root}/y'"}, execution_count=1),
        ]
        notebook.metadata["language_info"] = {"name": "python", "version": time}
        return json.dumps(cleaned(notebook, root), sort_keys=True)

    one, other = run("09:00", tmp_path / "one"), run("10:00", tmp_path / "other")
    assert one == other and "read data/x.csv" in one and "Loading" not in one


def test_a_cell_that_fails_is_named_in_one_line(tmp_path):
    notebook = made_up(
        "import os\nprint(os.environ['OMP_NUM_THREADS'], os.getcwd())", "x = 1\nx.missing", "print('on')"
    )
    with pytest.raises(
        UserError, match=r"^code cell 2 \(x = 1\): AttributeError: 'int' object has no"
    ) as raised:
        executed(notebook, tmp_path)
    assert "\n" not in str(raised.value) and not notebook.cells[3].outputs
    assert notebook.cells[1].outputs[0].text == f"1 {tmp_path}\n"
