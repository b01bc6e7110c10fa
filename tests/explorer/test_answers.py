"""Answers are the engine's, each computed once; a finding can be taken along."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from closure import ROOT
from explorer.conftest import QUESTION, TARGET, TEXT
from matplotlib.image import imread

from weightgraft import encode_prompt, parse_scheme
from weightgraft.explorer.models import Models
from weightgraft.explorer.questions import Texts
from weightgraft.inspection.measure import score_map, score_schemes
from weightgraft.inspection.question import token_sets

SCHEMES = ("PRE", "SFT", "FE", "FE+LT", "(FE+LT)^C", "O+FFN@LT[1-2]", "T3[2]", "task:ATTN@M, LT", "O{0,2}@LT")
SCHEMES += ("FE+LT, cut LT<-FE[1-2]", "cut LT<-FE", "SFT, cut FE^C<-FE, cut T5<-T3[0]")
TEXTS = Texts(TEXT, TARGET, None, False)


@pytest.fixture(scope="module")
def prompt(models):
    made = encode_prompt(models.tokenizer, TEXT, TARGET, {"FE": [(0, 7)], "M": [(19, 30)]})
    object.__setattr__(made, "positions", {**made.positions, **token_sets(len(made.tokens))})
    return made


@pytest.mark.parametrize("text", SCHEMES)
def test_an_answer_is_what_the_engine_says(text, models, prompt, ask):
    found = ask(scheme=text)
    asked = [parse_scheme(name, donor="sft") for name in ("PRE", "SFT", text)]
    scores = models.grafted.score([prompt], asked)
    rows = found["schemes"]
    # Alone or packed with others, float32 rounds otherwise in the last digits.
    assert [row["joint_logprob"] for row in rows] == pytest.approx(scores.joint_logprob[0].tolist(), abs=2e-5)
    assert [row["target_rank"] for row in rows] == scores.target_rank[0].tolist()
    pre, sft, graft = scores.joint_logprob[0].tolist()
    assert sft > pre + 0.1 and rows[2]["recovered"] == pytest.approx((graft - pre) / (sft - pre), abs=1e-4)
    assert found["scheme"] == rows[2]["scheme"] == text
    best = models.grafted.logits([prompt], asked)[0].softmax(-1).topk(5)
    assert [[top["token"] for top in row["top"]] for row in rows] == best.indices.tolist()
    for row, shares in zip(rows, best.values.tolist(), strict=True):
        assert [top["probability"] for top in row["top"]] == pytest.approx(shares, abs=1e-5)


def test_likely_tokens_read_off_the_pass_that_scores_are_those_of_the_logits(models, prompt):
    schemes = [parse_scheme(name, donor="sft") for name in ("PRE", "FE", "T3[1]")]
    scores, top = score_schemes(models.grafted, prompt, schemes, 5)
    alone = models.grafted.score([prompt], schemes)
    assert torch.equal(scores.joint_logprob, alone.joint_logprob)
    best = models.grafted.logits([prompt], schemes)[0].softmax(-1).topk(5)
    assert [[token for token, _ in pairs] for pairs in top] == best.indices.tolist()


def test_clicks_become_notation_and_notation_becomes_cells(ask):
    everything = ask(scheme="SFT")["cells"]
    rows, tokens = {cell["row"] for cell in everything}, {cell["token"] for cell in everything}
    components = [
        "embed",
        "q",
        "k",
        "v",
        "o",
        "gate",
        "up",
        "down",
        "attn_norm",
        "mlp_norm",
        "final_norm",
        "unembed",
    ]

    def click(tokens, rows, donor="sft", components=components):
        return {"tokens": list(tokens), "rows": list(rows), "components": components, "donor": donor}

    fe = ask()["positions"]["FE"]
    for clicks, expected in (
        ([click([3], "2")], "T3[2]"),
        ([click(fe, rows)], "FE"),
        ([click(tokens, ["1"])], "all[1]"),
        ([click(tokens, rows)], "SFT"),
        ([click(tokens, rows), click(tokens, rows)], "PRE"),
        ([click(fe, rows), click([max(tokens)], rows)], "FE+LT"),
        ([click([max(tokens)], "012", "task", ["o"])], "task:O@LT"),
    ):
        found = ask(clicks=clicks)
        assert found["scheme"] == expected
        assert found["cells"] == ask(scheme=expected)["cells"]
        assert found["schemes"][2]["joint_logprob"] == ask(scheme=expected)["schemes"][2]["joint_logprob"]
    assert ask(scheme="FE", clicks=[click(fe, "1")])["scheme"] == "FE, recipient:all[1]"
    cut = ask(scheme="FE, cut LT<-FE", clicks=[click([max(tokens)], rows)])
    assert cut["scheme"] == "FE+LT, cut LT<-FE"
    assert (
        cut["schemes"][2]["joint_logprob"] == ask(scheme="FE+LT, cut LT<-FE")["schemes"][2]["joint_logprob"]
    )


def test_without_a_target_it_is_sfts_most_likely_next_token(ask):
    found = ask(target="")
    assert found["schemes"][1]["target_rank"] == 1
    assert found["target"] == found["schemes"][1]["top"][0]["text"]


def test_pre_and_sft_are_computed_once_a_prompt_and_every_scheme_once(folder, monkeypatch):
    fresh = Models(folder / "base", {"sft": folder / "sft"}, "float32", torch.device("cpu"))
    asked: list[list[str]] = []
    score = type(fresh.grafted).score

    def counted(self, prompts, schemes, **options):
        asked.append([scheme.name for scheme in schemes])
        return score(self, prompts, schemes, **options)

    monkeypatch.setattr(type(fresh.grafted), "score", counted)
    from weightgraft.explorer.answers import answer
    from weightgraft.explorer.questions import read_question

    for scheme in ("FE", "T1+T2", "LT", "FE", "SFT", "all", "PRE"):
        answer(fresh, read_question(QUESTION | {"scheme": scheme, "spans": [["FE", 0, 7]]}))
    tokens = [f"T{token}" for token in answer(fresh, read_question(QUESTION))["positions"]["FE"]]
    assert sorted(names[0] for names in asked if names[0] not in ("PRE", "SFT", "+".join(tokens))) == sorted(
        {"T1+T2", f"T{len(fresh.encoded(TEXTS).prompt.tokens) - 1}"} - {"+".join(tokens)}
    )
    assert [names for names in asked if names == ["PRE"]] == [["PRE"]] and asked.count(["SFT"]) == 1
    assert len({*map(tuple, asked)}) == len(asked) and all(len(names) == 1 for names in asked)


def test_the_map_grows_to_the_one_that_inspect_draws(models, prompt, client):
    lines = [json.loads(line) for line in client.post("/api/map", json=QUESTION).text.splitlines()]
    assert len(lines) > 1 and [line["done"] for line in lines] == sorted(line["done"] for line in lines)
    assert lines[-1]["done"] == lines[-1]["total"]
    values: dict[int, float] = {}
    for line in lines:
        values |= dict(enumerate(line["values"], start=line["from"]))
    whole = score_map(models.grafted, prompt, "sft")
    pre, sft = models.references(TEXTS)
    drawn = torch.cat([whole.cells.flatten(), whole.tokens, whole.layers])
    expected = ((drawn - pre) / (sft - pre)).tolist()
    assert [values[place] for place in range(len(expected))] == pytest.approx(expected, abs=1e-4)
    again = client.post("/api/map", json=QUESTION).text.splitlines()
    assert len(again) == 1  # computed once


def test_the_picture_is_a_png_and_the_document_has_the_map(client, ask):
    picture = client.post("/api/picture", json=QUESTION | {"scheme": "FE+LT"})
    assert picture.headers["content-type"] == "image/png"
    assert min(imread(io.BytesIO(picture.content)).shape[:2]) > 300
    bare = client.post("/api/picture", json=QUESTION | {"scheme": "PRE"})
    assert bare.content != picture.content  # its title, and no cell framed
    found = ask("/api/document", scheme="FE+LT")
    assert found["map"]["donor"] == "sft" and len(found["map"]["recovered"]) == len(found["map"]["rows"])
    assert {"prompt", "target", "scheme", "schemes", "tokens", "python"} <= found.keys()


def test_the_python_lines_print_the_numbers_of_the_page(ask):
    found = ask(scheme="FE, O@T3[1], task:ATTN@LT")
    done = subprocess.run(
        [sys.executable, "-c", found["python"]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    graft = found["schemes"][2]
    assert f"log-probability {graft['joint_logprob']:.3f}, PRE" in done.stdout
    assert f"recovered fraction {graft['recovered']:.3f}" in done.stdout


def test_two_clients_at_once_get_their_own_answers(client, ask):
    texts = [*SCHEMES, *(f"T{token}[{layer}]" for token in (1, 5, 8) for layer in range(3))]
    with ThreadPoolExecutor(2) as two:
        at_once = [
            *two.map(lambda text: client.post("/api/answer", json=QUESTION | {"scheme": text}).json(), texts)
        ]
    for text, found in zip(texts, at_once, strict=True):
        assert found["scheme"] == text
        assert found["schemes"] == ask(scheme=text)["schemes"]
