"""The page: whole, self-contained, the same bytes every time, readable by machines and people."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest
from made_up_study import FIGURES, REPOSITORY

from stages.commands.repro import run_time
from stages.reporting.sources import read_pins, read_sections
from stages.study.params import read_yaml

VOID = {"meta", "link", "img", "br", "hr", "input", "col"}


class Page(HTMLParser):
    """The tags of a page with their attributes, its text by the tag around it, and what is not well-formed."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.faults: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        if len(dict(attrs)) != len(attrs):
            self.faults.append(f"{tag} has an attribute twice")
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"{tag} is closed at {self.getpos()} but is not the innermost")

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(whole_study) -> str:
    return (whole_study / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_the_page_is_well_formed(page):
    assert page.faults == [] and len(page.tags) > 500
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))


def test_the_parser_sees_what_is_not_well_formed():
    assert Page("<p><b>x</p></b>").faults and Page("<div>").faults and not Page("<p><b>x</b></p>").faults


def test_nothing_is_loaded_from_anywhere(page, text):
    assert page.all("script") == [{}] and not page.all("iframe") and not page.all("object")
    loaded = [
        attributes[key]
        for _, attributes in page.tags
        for key in ("src", "srcset", "poster")
        if key in attributes
    ]
    assert len(loaded) == len(FIGURES) + 1 and all(url.startswith("data:image/png;base64,") for url in loaded)
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not re.search(r"url\(|@import|@font-face", text)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|eval\(|innerHTML", script(text))
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    digest = base64.b64encode(hashlib.sha256(script(text).encode()).digest()).decode()
    assert (
        policy.startswith("default-src 'none'; img-src data:;") and f"script-src 'sha256-{digest}'" in policy
    )


def test_links_lead_to_parts_of_the_page_or_to_the_paper(page):
    identities = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] for attributes in page.all("a")]
    assert {link for link in links if not link.startswith("#")} == {"https://arxiv.org/abs/2506.20746"}
    assert {link[1:] for link in links if link.startswith("#")} <= identities


def test_every_figure_is_in_the_page_with_words_for_those_who_do_not_see_it(page, whole_study):
    images = page.all("img")
    shown = [base64.b64decode(image["src"].partition(",")[2]) for image in images]
    rest = [name for name in FIGURES if name not in ("figure1", "figure2")]
    files = [*(f"figures/{name}.png" for name in ("figure2", "figure1", *rest)), "families/families.png"]
    assert shown == [(whole_study / file).read_bytes() for file in files]
    titles = [attributes["data-title"] for attributes in page.all("figure")]
    drawn = {title: image for title, image in zip(titles, images, strict=True) if title != "Figure 1"}
    assert titles[0] == "Figure 2" and len(drawn) == len(images) - 1  # what was found comes first
    for image in drawn.values():
        assert re.search(r"\d\.\d\d \[|above|below|overlap", image["alt"]), image["alt"]
    # 1400 dots at 200 an inch: 7 inches, on which 7 points are 12 CSS pixels.
    assert {image["width"] for image in images} == {str(round(1400 / 200 * 72 / 7 * 12))}


def test_tables_say_what_their_heads_are_of(page):
    assert all(attributes.get("scope") in ("col", "row", "rowgroup") for attributes in page.all("th"))


def test_headings_are_in_order(page):
    """No level is left out, so that those who hear the page can go from one to the next."""
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def test_run_time_and_provenance_come_last(text):
    heads = re.findall(r"<h([23])[^>]*>([^<]*)</h", text.partition("<dialog")[0])
    at = [level for level, _ in heads].count("2"), [head for head in heads if head[0] == "2"][-1][1]
    assert at[0] > 5 and at[1] == "Run time and provenance"
    assert [head for _, head in heads][-5:] == [
        "Run time",
        "How well the models learnt",
        "Parameters",
        "Versions",
        "Provenance",
    ]
    assert (
        text.index('id="found"')
        < text.index('id="figure2"')
        < text.index('id="verdicts"')
        < text.index('id="record"')
    )


def test_the_papers_tables_hold_the_summaries_numbers(text, whole_study):
    summary = pd.read_csv(whole_study / "summary/tiny-llama-0/reversal.csv")
    at = summary.set_index(["prompt", "scheme", "metric"]).loc[
        "qa", "O+FFN@LT[last_quarter]", "top5_accuracy"
    ]
    table = text[text.index("last quarter: top-5 accuracy on FMRA") :].partition("</table>")[0]
    row = table[table.index('colspan="10">qa') :]
    row = row[row.index("tiny-llama") :].partition("</tr>")[0]
    cell = f'{at["estimate"]:.2f}<span class="interval">[{at["low"]:.2f}, {at["high"]:.2f}]'
    assert cell in row and '<td class="number">120</td>' in row
    assert ">paper" not in table  # the paper grafted the second half


def test_published_values_stand_beside_ours(text):
    table = text[text.index("Position grafting: top-5 accuracy on FMRA</h3>") :].partition("</table>")[0]
    row = table[table.index('colspan="10">headline') :]
    row = row[row.index("tiny-llama") :].partition("</tr>")[0]
    assert "paper 0.34" in row  # LT in Llama, data/published/position_grafting.csv


def test_hashes_are_those_of_the_files(text, whole_study):
    for path in (whole_study / "summary/tiny-gemma-0/fmra.csv", REPOSITORY / "pyproject.toml"):
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        assert f'{path.as_posix()}</td><td class="hash">{md5}' in text


def test_pins_are_pyprojects(text):
    pins = dict(read_pins(REPOSITORY / "pyproject.toml"))
    assert re.fullmatch(r"[\d.]+", pins["torch"]) and re.fullmatch(r"[\d.]+", pins["jinja2"])
    assert all(f'{name}</th><td class="number">{version}</td>' in text for name, version in pins.items())


def test_parameters_are_shown_whole(tmp_path):
    sections = read_sections(REPOSITORY / "params.yaml")
    assert [name for name, _ in sections] == list(read_yaml(REPOSITORY / "params.yaml"))
    lines = (REPOSITORY / "params.yaml").read_text().splitlines()
    shown = "\n".join(part for _, part in sections).splitlines()
    assert [line for line in shown if line] == [line for line in lines if line][len(lines_before(lines)) :]
    (tmp_path / "p.yaml").write_text("# of all\n\n# of a\na:\n  x: 1\n\n# of b\nb: 2\n")
    assert read_sections(tmp_path / "p.yaml") == [("a", "# of a\na:\n  x: 1"), ("b", "# of b\nb: 2")]


def lines_before(lines: list[str]) -> list[str]:
    """What stands above the first section and its own comment."""
    first = next(i for i, line in enumerate(lines) if line[:1].isalpha())
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return [line for line in lines[:first] if line]


def test_the_page_is_the_same_bytes_every_time(study_folder, run_stage):
    first = run_stage(study_folder).read_bytes(), (study_folder / "verdicts.md").read_bytes()
    assert (run_stage(study_folder).read_bytes(), (study_folder / "verdicts.md").read_bytes()) == first


def test_the_families_are_shown_where_they_were_made(study_folder, run_stage, text):
    assert "tiny-gpt2 0.15 [0.10, 0.20]; rotary 0.21 [0.16, 0.27]" in text and "(n = 120)" in text
    (study_folder / "families/families.csv").unlink()
    assert "LT - FE on" not in run_stage(study_folder).read_text()


def test_where_the_seconds_of_a_run_went_is_shown(study_folder, run_stage, text):
    assert "No run has told it yet." in text
    table = run_time([{"stage": "finetune", "imports": 2.0, "work": 198.0}], wall=300.0, cpu=250.0, cores=2)
    table.to_csv(study_folder / "run_time.csv", index=False)
    text = run_stage(study_folder).read_text()
    assert "took 5 minutes after installation on 2 cores" in text
    assert (
        'training</th><td class="number">1</td><td class="number">198</td><td class="number">33&nbsp;%'
        in text
    )


def test_what_the_inputs_say_is_text_and_not_markup(study_folder, run_stage):
    (study_folder / "notes.yaml").write_text(
        "questions: [{question: <script>alert(1)</script>, claims: [C1]}]\n"
    )
    text = run_stage(study_folder).read_text()
    assert Page(text).all("script") == [{}] and "alert(1)" not in script(text) and "alert(1)" in text


def test_the_closing_line_names_the_files_and_the_verdicts(study_folder, run_stage, capsys):
    run_stage(study_folder)
    line = capsys.readouterr().out.strip()
    assert "\n" not in line and "report.html" in line and "verdicts.md" in line
    assert re.search(r"\d+ verdicts, \d+ holds, \d+ fails, \d+ undecided, \d+ not shown$", line)


def script(text: str) -> str:
    return text[text.rindex("<script>") + len("<script>") : text.rindex("</script>")]


def css(text: str) -> str:
    return text[text.index("<style>") : text.index("</style>")]


def test_no_type_is_smaller_than_12_pixels(text):
    sizes = [float(size) * 16 for size in re.findall(r"font(?:-size)?:[^;}]*?([\d.]+)rem", css(text))]
    sizes += [float(size) for size in re.findall(r"font(?:-size)?:[^;}]*?([\d.]+)px", css(text))]
    assert len(sizes) > 5 and min(sizes) >= 12


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_is_told_from_its_ground_in_light_and_dark(text):
    looks = [look for look in re.findall(r":root \{(.*?)\}", css(text), re.DOTALL) if "--page" in look]
    assert len(looks) == 2
    for look in looks:
        colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", look))
        pairs = [(name, "page") for name in ("text", "quiet", "link")] + [("text", "head")]
        pairs += [(verdict, f"{verdict}-back") for verdict in ("holds", "fails", "undecided")]
        for front, back in pairs:
            low, high = sorted(luminance(colour[name]) for name in (front, back))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)
