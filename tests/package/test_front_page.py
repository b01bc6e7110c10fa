"""Claims about what a visitor reads: README.md, docs, CONTRIBUTING.md, CITATION.cff."""

import re
import tomllib
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import yaml
from closure import ROOT

from stages.analysis.verdicts import ALL
from stages.commands.page_real import decided
from stages.study.params import read_yaml

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
STUDY = read_yaml(ROOT / "params.yaml")["study"]
KNOWN = STUDY["models"]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@cache
def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings, as GitHub writes them in an address, and ids."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set(re.findall(r'<a id="([^"]+)">', text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = sum(
            name == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", name) is not None for name in found
        )
        found.add(f"{slug}-{again}" if again else slug)
    return found


def leads_nowhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return True
    return bool(anchor) and anchor not in anchors(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page):
    links = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    assert links
    assert [link for link in links if "://" not in link and leads_nowhere(page, link)] == []


def test_a_link_to_what_is_not_there_is_seen():
    page = ROOT / "docs/method.md"
    for link in ("nowhere.md", "claims.md#C99", "#no-such-heading", "../../outside.md"):
        assert leads_nowhere(page, link)
    for link in ("claims.md", "claims.md#C1", "#what-is-measured", "../README.md#citing-and-the-licence"):
        assert not leads_nowhere(page, link)


def test_the_readme_is_short_and_its_example_stands_near_the_top():
    lines = README.splitlines()
    assert len(lines) <= 220 and len(README.encode()) <= 16 * 1024
    assert lines.index("```python") < 60


def test_every_page_in_docs_can_be_found_from_the_readme():
    linked = {link.partition("#")[0] for link in LINK.findall(README)}
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= linked


def test_every_target_of_make_that_the_pages_name_exists():
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    for page in PAGES:
        text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"))
        named = set(re.findall(r"`make ([a-z]+)", text))
        assert named <= {*targets}, page.name


# What sentences of the README, docs/claims.md and docs/beyond.md say, beside their numbers. (claim, models, verdict)
SAID = [
    ("C1", KNOWN, "holds"),  # two places are enough
    ("C2", KNOWN, "holds"),
    ("C4", KNOWN, "holds"),  # both together do more than each alone
    ("C3", ["tiny-llama", "tiny-gemma"], "undecided"),
    ("C3", ["tiny-gpt2", "tiny-pythia"], "holds"),
    ("C5", ["tiny-gemma"], "holds"),  # the last token is the stronger place
    ("C5", ["tiny-gpt2"], "fails"),  # it says: the name
    ("C5", ["tiny-llama"], "undecided"),
    ("C5", ["tiny-pythia"], "not shown"),  # that neither is the stronger one
    ("C7", [*KNOWN, "smollm2-135m"], "holds"),  # O and FFN do what ATTN, O and FFN do
    ("C9", ["smollm2-135m"], "holds"),
    *[(claim, ["gemma-3-270m"], "fails") for claim in ("C7", "C9", "N1", "N2")],
    ("N1", ["smollm2-135m"], "fails"),
    ("N2", ["smollm2-135m"], "undecided"),
    ("N2", ["tiny-gpt2", "tiny-pythia", "tiny-llama", "tiny-gemma"], "holds"),
    ("N2", ["tiny-gpt2-new"], "fails"),
    ("W1", ["tiny-gpt2", "tiny-pythia", "tiny-gemma"], "holds"),
    ("W1", ["tiny-llama", "smollm2-135m"], "undecided"),
    ("K3", ["tiny-gpt2"], "fails"),
    ("K3", ["tiny-llama"], "undecided"),
    ("K18", ["smollm2-135m", "gemma-3-270m"], "holds"),
    ("K19", ["smollm2-135m", "gemma-3-270m"], "fails"),
    ("C14", KNOWN, "undecided"),  # cannot be judged
    ("K39", ["tiny-gpt2", "tiny-pythia", "tiny-llama", "tiny-gemma"], "holds"),  # by layers only
    ("A1", ["tiny-gpt2", "tiny-gemma"], "undecided"),
    ("A2", ["tiny-gpt2", "tiny-gemma"], "undecided"),
    ("T1", ["tiny-gpt2", "tiny-gemma"], "undecided"),
    ("L1", ["smollm2-135m"], "fails"),  # by the logit difference the name recovers more
    ("L1", ["tiny-gpt2", "tiny-pythia", "tiny-llama", "tiny-gemma"], "undecided"),
]


@pytest.mark.parametrize(("claim", "models", "verdict"), SAID)
def test_a_verdict_that_a_sentence_states_is_the_verdict(claim, models, verdict):
    """Else the sentence has to be written anew: README.md, What the study found; docs/claims.md, Findings; docs/beyond.md."""
    of_beyond = [pd.read_csv(path) for path in (ROOT / "results/beyond").glob("*_verdicts.csv")]
    tables = [*decided(ROOT).values(), *(table[table["prompt"] == ALL] for table in of_beyond)]
    leading = pd.concat(tables).set_index(["claim", "model"])["verdict"]
    assert [leading[claim, model] for model in models] == [verdict] * len(models)


def test_c3_is_open_in_tiny_gemma_for_the_reason_that_is_told():
    """docs/claims.md, How sure is a verdict?"""
    parts = pd.read_csv(ROOT / "results/runs/over_runs.csv").query("claim == 'C3' and model == 'tiny-gemma'")
    open_parts = parts[(parts["prompt"] != "all") & (parts["verdict"] == "undecided")]
    assert set(open_parts["prompt"]) == {"long"} and set(open_parts["runs"]) == {2}
    assert parts["runs"].max() == 8


def test_the_papers_values_that_a_sentence_states_are_the_published_ones():
    paper = pd.read_csv(ROOT / "data/published/hybrid_grafting.csv").set_index(["model", "scheme"])["value"]
    told = [
        [f"{paper[model, scheme]:.2f}".lstrip("0") for scheme in ("NO FE", "FE ATTN")]
        for model in ("llama-3.2-1b", "gemma-1.1-2b-it")
    ]
    (llama, gemma) = told
    assert f"{llama[0]} becomes {llama[1]}, and {gemma[0]} becomes {gemma[1]}" in " ".join(README.split())


def test_citation_and_bibtex_have_the_packages_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert f"version = {{{project['version']}}}" in README and citation["title"] in README


def test_pre_commit_runs_the_checks_that_make_test_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]  # nothing is downloaded
    recipe = re.search(r"^test: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    *checks, beside, _ = (line.strip() for line in recipe.splitlines())
    types, _, tests = beside.partition(" & ")
    assert "pytest" in tests
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks[0]["hooks"]] == [*checks, types]


def test_every_figure_is_explained():
    told = (ROOT / "docs/figures.md").read_text(encoding="utf-8")
    drawn = [path.name for path in (ROOT / "figures").glob("*.png")]
    assert drawn and [name for name in drawn if f"](../figures/{name})" not in told] == []
