"""What the command finds is what the engine says when it is asked scheme by scheme."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.modeling.models import load_model
from weightgraft import GraftedModel, parse_scheme
from weightgraft.inspection.measure import score_map

EIGHT = ["PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C"]
TITLE = ["M", "M+LT", "FE+M", "FE+M+LT", "(FE+M)^C", "(FE+M+LT)^C"]
# Log-probabilities of size 10 in float32, in other batches.
CLOSE = {"abs": 1e-4}


@pytest.fixture(scope="module")
def engine(folder) -> GraftedModel:
    models = {name: load_model(folder / name)[0] for name in ("base", "sft", "merged")}
    return GraftedModel(models["base"], {"sft": models["sft"], "lora": models["merged"]})


def by_name(found) -> dict[str, dict]:
    return {row["scheme"]: row for row in found["schemes"]}


def test_the_default_schemes_are_the_papers(document):
    assert list(by_name(document)) == ["PRE", "SFT", "lora:SFT", *EIGHT[2:], *TITLE]


def test_the_tables_numbers_are_those_of_separate_scores(document, engine, prompt):
    rows = by_name(document)
    pre, sft = rows["PRE"]["joint_logprob"], rows["SFT"]["joint_logprob"]
    assert sft - pre > 0.1 and len(prompt.target) > 1 and document["warning"] is None
    assert len({row["joint_logprob"] for row in rows.values()}) == len(rows)
    for name, row in rows.items():
        scheme = parse_scheme(name, donor="sft")
        scores, logits = engine.score([prompt], [scheme]), engine.logits([prompt], [scheme])[0, 0]
        assert row["target_rank"] == scores.target_rank.item()
        assert row["joint_logprob"] == pytest.approx(scores.joint_logprob.item(), **CLOSE)
        assert row["recovered"] == pytest.approx((scores.joint_logprob.item() - pre) / (sft - pre), **CLOSE)
        difference = scores.target_logit.item() - scores.foil_logit.item()
        assert row["logit_difference"] == pytest.approx(difference, **CLOSE)
        best = logits.softmax(dim=-1).sort(descending=True)
        assert [entry["token"] for entry in row["top"]] == best.indices[:3].tolist()
        shares = [entry["probability"] for entry in row["top"]]
        assert shares == pytest.approx(best.values[:3].tolist(), **CLOSE)


def test_a_cell_of_the_map_is_the_scheme_written_in_notation(document, run):
    drawn, tokens = document["map"], range(len(document["tokens"]))
    schemes = {f"embed@T{t}": drawn["joint_logprob"][0][t] for t in tokens}
    schemes |= {f"T{t}[{layer}]": drawn["joint_logprob"][layer + 1][t] for t in tokens for layer in range(3)}
    schemes |= {f"final_norm+unembed@T{t}": drawn["joint_logprob"][4][t] for t in tokens}
    schemes |= {f"T{t}": drawn["whole_token"]["joint_logprob"][t] for t in tokens}
    schemes |= {f"all[{layer}]": drawn["whole_row"]["joint_logprob"][layer + 1] for layer in range(3)}
    schemes |= {"embed@all": drawn["whole_row"]["joint_logprob"][0]}
    schemes |= {"final_norm+unembed@all": drawn["whole_row"]["joint_logprob"][4]}
    assert drawn["rows"] == ["embed", "0", "1", "2", "readout"]
    assert len({round(value, 3) for value in schemes.values()}) > 0.7 * len(schemes)
    again = by_name(json.loads(run("--json", "--scheme", *schemes)[0]))
    for name, value in schemes.items():
        assert again[name]["joint_logprob"] == pytest.approx(value, **CLOSE), name


def test_a_map_in_several_calls_is_the_map_in_one(engine, prompt, monkeypatch):
    calls, score = [], engine.score
    monkeypatch.setattr(engine, "score", lambda *args, **more: calls.append(1) or score(*args, **more))
    one = score_map(engine, prompt, "sft")
    assert len(calls) == 1
    monkeypatch.setattr("weightgraft.engine.portions.ROWS_AT_ONCE", 60)
    several = score_map(engine, prompt, "sft")
    assert len(calls) > 5 and one.rows == several.rows
    for name in ("cells", "tokens", "layers"):
        torch.testing.assert_close(getattr(several, name), getattr(one, name), rtol=0, atol=CLOSE["abs"])


def test_the_maps_fractions_are_its_log_probabilities_between_pre_and_sft(document):
    pre, sft = (row["joint_logprob"] for row in document["schemes"][:2])
    drawn = document["map"]
    for part in (drawn, drawn["whole_token"], drawn["whole_row"]):
        values, fractions = torch.tensor(part["joint_logprob"]), torch.tensor(part["recovered"])
        torch.testing.assert_close(fractions, (values - pre) / (sft - pre), rtol=0, atol=1e-4)


def test_an_adapter_serves_the_table_and_the_map(folder, run):
    lora = json.loads(run("--json", donors=["lora=lora"])[0])
    merged = json.loads(run("--json", donors=["lora=merged"])[0])
    pre, sft = (row["joint_logprob"] for row in lora["schemes"][:2])
    assert abs(sft - pre) > 0.1
    for one, other in zip(lora["schemes"], merged["schemes"], strict=True):
        assert one["joint_logprob"] == pytest.approx(other["joint_logprob"], abs=1e-3)  # W x + B(A x)
    cells, others = (torch.tensor(found["map"]["joint_logprob"]) for found in (lora, merged))
    assert (cells - pre).abs().max() > 0.1
    torch.testing.assert_close(cells, others, rtol=0, atol=1e-3)


def test_a_donor_is_named_in_notation(run, engine, prompt):
    found = json.loads(run("--json", "--scheme", "lora:ATTN@FE, LT", donors=["sft=sft", "lora=lora"])[0])
    expected = engine.score([prompt], [parse_scheme("lora:ATTN@FE, sft:LT")]).joint_logprob.item()
    assert by_name(found)["lora:ATTN@FE, LT"]["joint_logprob"] == pytest.approx(expected, abs=1e-3)


def test_spans_in_characters_are_spans_in_text(document, run):
    found = json.loads(run("--json", "--scheme", "FE", spans={"FE": "0:7", "M": "19:30"})[0])
    assert found["positions"] == document["positions"]
    assert by_name(found)["FE"]["joint_logprob"] == pytest.approx(
        by_name(document)["FE"]["joint_logprob"], **CLOSE
    )


def test_a_span_given_twice_is_the_union(run):
    found = json.loads(
        run("--json", "--span", "FE=Night River", "--scheme", "FE", spans={"FE": "Ann Lee"})[0]
    )
    apart = json.loads(run("--json", "--scheme", "FE+M")[0])
    assert found["positions"]["FE"] == sorted(apart["positions"]["FE"] + apart["positions"]["M"])


def test_without_spans_the_last_token_remains(run):
    found = json.loads(run("--json", spans={})[0])
    assert list(by_name(found)) == ["PRE", "SFT", "LT", "LT^C"]
    assert found["positions"] == {"LT": [len(found["tokens"]) - 1]}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_tells_about_the_same(document, run, dtype):
    found = json.loads(run("--json", dtype=dtype, donors=["sft=sft", "lora=lora"])[0])
    for name, row in by_name(found).items():
        # bfloat16 keeps 8 bits: logits of size 10, two of them, through three layers
        assert row["joint_logprob"] == pytest.approx(by_name(document)[name]["joint_logprob"], abs=0.5)
    assert found["dtype"] == dtype


def test_no_recovered_fraction_where_sft_does_not_beat_pre(run):
    table, _ = run(recipient="sft", donors=["sft=base"])
    found = json.loads(run("--json", recipient="sft", donors=["sft=base"])[0])
    assert "SFT does not beat PRE" in found["warning"] and "warning    SFT does not beat PRE" in table
    assert {row["recovered"] for row in found["schemes"]} == {None}
    assert {value for line in found["map"]["recovered"] for value in line} == {None}
    assert "recovers" not in table.splitlines()[-1]


def test_the_table_prints_what_json_says(document, run):
    table, progress = run(donors=["sft=sft", "lora=lora"])
    lines = table.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("scheme"))
    printed = lines[head + 1 : head + 1 + len(document["schemes"])]
    for line, row in zip(printed, document["schemes"], strict=True):
        best = ", ".join(f"{entry['text']!r} {entry['probability']:.3f}" for entry in row["top"])
        numbers = [row["joint_logprob"], row["recovered"], row["logit_difference"]]
        words = [row["scheme"], str(row["target_rank"]), *(f"{number:.3f}" for number in numbers)]
        assert line.split(maxsplit=5) == [*words, best]
    assert progress == ""
    assert "FE: tokens" in table and "'Ann Lee'" in table and "first ' Bob" in table
    assert f"{by_name(document)['FE+LT']['recovered']:.3f}" in lines[-1] and document["picture"] in lines[-1]


def test_json_is_all_that_stdout_holds(run):
    out, err = run("--json")
    assert json.loads(out)["map"]["donor"] == "sft" and out.startswith("{") and out.endswith("}\n")
    assert err.startswith("wrote ") and err.count("\n") == 1


def test_the_recipients_files_are_read_and_not_written(folder, run):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_not_finite_is_told_in_words_and_leaves_the_rest_as_it_is(run, refused, copied):
    """A donor whose second FFN overflows in float16."""
    bad = copied("sft")
    model = AutoModelForCausalLM.from_pretrained(bad)
    with torch.no_grad():
        model.transformer.h[1].mlp.c_proj.weight.fill_(60_000)
    model.save_pretrained(bad)
    asked = {"donors": [f"sft={bad}"], "dtype": "float16"}
    schemes = ("--scheme", "FE", "FE[0]", "LT[1]")
    found = json.loads(run("--json", *schemes, **asked)[0])
    rows = by_name(found)
    for name in ("SFT", "FE", "LT[1]"):
        row = rows[name]
        assert [row[key] for key in ("target_rank", "joint_logprob", "recovered", "logit_difference")] == [
            None
        ] * 4
        assert row["top"] == []
    right = by_name(json.loads(run("--json", "--scheme", "FE[0]", dtype="float16")[0]))
    for name in ("PRE", "FE[0]"):
        assert rows[name]["joint_logprob"] == pytest.approx(right[name]["joint_logprob"], abs=0.02)  # float16
    assert "SFT's log-probability of this target is not finite" in found["warning"]
    second = found["map"]["joint_logprob"][2]
    assert found["map"]["rows"][2] == "1" and second == [None] * len(second)
    assert None not in found["map"]["joint_logprob"][1] and None not in found["map"]["joint_logprob"][3]
    printed, _ = run(*schemes, **asked)
    (line,) = (line for line in printed.splitlines() if line.startswith("LT[1]"))
    assert line.split() == ["LT[1]", "n/a", "not", "finite", "n/a", "n/a"]
    line = refused(*schemes, recipient=bad, donors=["sft=base"], dtype="float16")
    assert "under scheme 'PRE'" in line and "not finite" in line and "--dtype float32" in line
