"""What the scores say, against the stock models' own logits."""

import sys
from dataclasses import fields

import pytest
import torch
from tiny_models import tiny_model

from weightgraft import GraftedModel, Prompt, Scheme, Scores, parse_scheme
from weightgraft.engine import scores as scores_module
from weightgraft.engine.scores import NAMES, measure, padded
from weightgraft.errors import UserError

PRE_SFT = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT")]


def test_scores_are_those_of_the_stock_models(grafted, pre, sft, prompts):
    scores = grafted.score(prompts, PRE_SFT)
    for i, prompt in enumerate(prompts):
        fed, first = [*prompt.tokens, *prompt.target[:-1]], len(prompt.tokens) - 1
        for j, model in enumerate((pre, sft)):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([fed])).logits[0, first:]
            logprobs = logits.log_softmax(dim=-1)
            target = prompt.target[0]
            by_size = sorted(range(61), key=lambda token: -logits[0, token])
            assert scores.target_rank[i, j] == by_size.index(target) + 1
            assert scores.top1_token[i, j] == by_size[0]
            joint = sum(logprobs[step, token] for step, token in enumerate(prompt.target))
            # float32, logits of size 10
            assert scores.target_logit[i, j] == pytest.approx(logits[0, target].item(), abs=1e-4)
            assert scores.foil_logit[i, j] == pytest.approx(logits[0, prompt.foil].item(), abs=1e-4)
            assert scores.target_logprob[i, j] == pytest.approx(logprobs[0, target].item(), abs=1e-4)
            assert scores.joint_logprob[i, j] == pytest.approx(joint.item(), abs=3e-4)


def test_exact_match_is_greedy_decoding_of_the_whole_target(grafted, pre):
    tokens = [7, 12, 45, 3]
    with torch.no_grad():
        for _ in range(3):
            tokens.append(pre(input_ids=torch.tensor([tokens])).logits[0, -1].argmax().item())
    greedy = tokens[4:]
    wrong_end = [*greedy[:2], (greedy[2] + 1) % 61]
    prompts = [
        Prompt(tokens=tokens[:4], target=target)
        for target in (greedy, wrong_end, greedy[:1], [(greedy[0] + 1) % 61])
    ]
    scores = grafted.score(prompts, [Scheme("PRE")])
    assert scores.exact_match[:, 0].tolist() == [True, False, True, False]
    assert (scores.target_rank[:, 0] == 1).tolist() == [True, True, True, False]


def test_rank_counts_strictly_greater_logits_only():
    logits = torch.tensor([[1.0, 3.0, 3.0, 2.0]]).repeat(4, 1)
    watched = torch.tensor([[0, -1], [1, 3], [-1, -1], [2, -1]])
    reading = measure(logits, torch.tensor([0, 1, 2, 3]), torch.tensor([-1, 0, 1, -1]), watched)
    assert reading.rank.tolist() == [4, 1, 1, 3]
    assert reading.top1.tolist() == [1, 1, 1, 1]
    assert reading.foil.isnan().tolist() == [True, False, False, True]
    assert reading.foil[1:3].tolist() == [1.0, 3.0]
    shares = logits[0].softmax(dim=0)
    expected = torch.stack([shares[0], shares[1] + shares[3], torch.tensor(torch.nan), shares[2]])
    torch.testing.assert_close(reading.mass, expected, rtol=1e-6, atol=0, equal_nan=True)  # one rounding


def test_a_prompt_without_foil_has_no_foil_logit(grafted):
    scores = grafted.score(
        [Prompt(tokens=(1, 2), target=(3,)), Prompt(tokens=(1, 2), target=(3,), foil=0)], PRE_SFT
    )
    assert scores.foil_logit.isnan().tolist() == [[True, True], [False, False]]


def test_decode_route_serves_the_targets_tokens_and_nothing_else(grafted):
    prompts = [Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2)}, target=(11, 12, 13))]
    schemes = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT", "LT", "FE")]
    last, recipient, donor = (
        grafted.score(prompts, schemes, decode_route=route) for route in ("last", "recipient", "sft")
    )
    for scores in (recipient, donor):
        torch.testing.assert_close(scores.target_logit, last.target_logit, rtol=0, atol=1e-4)
    close = torch.isclose(last.joint_logprob, recipient.joint_logprob, rtol=0, atol=3e-4)[0]
    assert close.tolist() == [True, False, False, True]
    close = torch.isclose(last.joint_logprob, donor.joint_logprob, rtol=0, atol=3e-4)[0]
    assert close.tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="decode_route 'x': choose from last, recipient, sft"):
        grafted.score(prompts, schemes, decode_route="x")


def test_logits_that_are_not_finite_are_an_error_and_not_a_first_rank(prompts):
    pre, sft = tiny_model("gpt2", 0), tiny_model("gpt2", 1)
    sft.lm_head = torch.nn.Linear(24, 61, bias=False)
    grafted = GraftedModel(pre, {"sft": sft})
    with (
        torch.no_grad()
    ):  # afterwards: models with such weights are refused, but sums of finite ones overflow too
        sft.transformer.wte.weight[33] = torch.nan  # only prompt 2 has this token
    with pytest.raises(FloatingPointError, match="prompt 2 under scheme 'SFT'"):
        grafted.score(prompts, PRE_SFT)
    assert grafted.score(prompts, PRE_SFT[:1]).target_logit.isfinite().all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "gemma3_text"])
def test_a_number_that_is_not_finite_stays_with_the_scheme_where_it_arises(family, value, prompts):
    """All schemes and prompts in one pass, in which 0 x NaN is NaN; each alone tells what is right."""
    pre, sft = tiny_model(family, 0), tiny_model(family, 1)
    broken = next(
        module
        for name, module in sft.named_modules()
        if name.endswith(("h.1.mlp.c_fc", "layers.1.mlp.up_proj"))
    )
    grafted = GraftedModel(pre, {"sft": sft})
    with torch.no_grad():
        broken.weight[0, 0] = value
    texts = ["PRE", "SFT", "FE[0]", "FE[1]", "up@LT[1]", "LT[2]", "up@LT[0]", "down@FE[1]"]
    schemes = [parse_scheme(text, donor="sft") for text in texts]
    scores = grafted.score(prompts, schemes, allow_nan=True)
    spoiled = torch.tensor([text in ("SFT", "FE[1]", "up@LT[1]") for text in texts])
    for table in (scores.target_logprob, scores.target_logit, scores.joint_logprob):
        assert torch.equal(table.isnan(), spoiled.expand(len(prompts), -1))
    assert torch.equal(scores.target_rank == 0, scores.top1_token == -1)
    assert torch.equal(scores.target_rank == 0, scores.target_logprob.isnan())
    for j, scheme in enumerate(schemes):
        if not spoiled[j]:
            alone = grafted.score(prompts, [scheme])
            # float32, logits of size 10
            torch.testing.assert_close(scores.target_logit[:, j], alone.target_logit[:, 0], rtol=0, atol=1e-4)
            assert torch.equal(scores.target_rank[:, j], alone.target_rank[:, 0])
    logits = grafted.logits(prompts, schemes)
    assert torch.equal(logits.isfinite().all(-1), ~spoiled.expand(len(prompts), -1))
    with pytest.raises(FloatingPointError, match="prompt 0 under scheme 'SFT'"):
        grafted.score(prompts, schemes)
    with pytest.raises(FloatingPointError, match=r"prompt 0 under scheme 'up@LT\[1\]'"):
        grafted.score(prompts, [schemes[0], schemes[4]])


def test_a_number_that_is_not_finite_stays_with_the_prompt_where_it_arises(prompts):
    pre, sft = tiny_model("llama", 0), tiny_model("llama", 1)
    schemes = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT", "FE", "LT")]
    grafted = GraftedModel(pre, {"sft": sft})
    with torch.no_grad():
        pre.model.embed_tokens.weight[33] = torch.nan  # a token of prompt 2 only
    scores = grafted.score(prompts, schemes, allow_nan=True)
    spoiled = torch.zeros(len(prompts), len(schemes), dtype=torch.bool)
    spoiled[2] = torch.tensor([True, False, False, True])  # FE has this token
    assert torch.equal(scores.joint_logprob.isnan(), spoiled)
    clean = [prompt for place, prompt in enumerate(prompts) if place != 2]
    expected = grafted.score(clean, schemes)
    torch.testing.assert_close(scores.target_logit[[0, 1, 3]], expected.target_logit, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (Prompt(tokens=(1, 2)), "prompt 1 has no target to score"),
        (Prompt(tokens=(1, 61), target=(3,)), "prompt 1 has token id 61; the vocabulary has ids 0 to 60"),
        (Prompt(tokens=(1, 2), target=(-1,)), "prompt 1 has token id -1"),
        (Prompt(tokens=(1, 2), target=(1,), foil=99), "prompt 1 has token id 99"),
        (
            Prompt(tokens=[1] * 64, target=(1, 2)),
            "prompt 1 has 65 tokens with its target; the models take 64",
        ),
    ],
)
def test_prompts_that_do_not_fit_the_models_are_refused(grafted, prompt, expected):
    with pytest.raises(ValueError, match=expected):
        grafted.score([Prompt(tokens=(1, 2), target=(3,)), prompt], PRE_SFT)


def test_no_prompts_give_empty_tables_and_no_schemes_are_an_error(grafted, prompts):
    assert grafted.score([], PRE_SFT).target_rank.shape == (0, 2)
    with pytest.raises(ValueError, match="no schemes"):
        grafted.score(prompts, [])


def test_bfloat16_models_are_scored_and_scores_are_float32(prompts):
    pre, sft = tiny_model("llama", 0), tiny_model("llama", 1)
    expected = GraftedModel(pre, {"sft": sft}).score(prompts, PRE_SFT)
    scores = GraftedModel(pre.bfloat16(), {"sft": sft.bfloat16()}).score(prompts, PRE_SFT)
    assert scores.target_logit.dtype == torch.float32
    # bfloat16 has 8 bits of mantissa; logits are of size 10 after three layers.
    torch.testing.assert_close(scores.target_logit, expected.target_logit, rtol=0.05, atol=0.5)


def test_reading_some_logits_at_a_time_changes_no_number(monkeypatch):
    logits = torch.randn(7, 50, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # with ties
    targets, foils = torch.arange(7), torch.tensor([-1, 3, 4, 5, 6, 7, 8])
    watched = padded([[1, 2], [3], [], [4, 5, 6], [7], [], [0, 49]])
    whole = measure(logits, targets, foils, watched)
    ranks = [
        1 + sum(value > row[target] for value in row) for row, target in zip(logits, targets, strict=True)
    ]
    assert whole.rank.tolist() == ranks
    monkeypatch.setattr(scores_module, "CACHED_LOGITS", 100)
    pieces = measure(logits, targets, foils, watched)
    for name in NAMES:
        torch.testing.assert_close(
            getattr(pieces, name), getattr(whole, name), rtol=0, atol=0, equal_nan=True
        )


def test_models_in_float64_are_scored_in_float64(prompts):
    pre, sft = (tiny_model("llama", seed).double() for seed in (0, 1))
    scores = GraftedModel(pre, {"sft": sft}).score(prompts, PRE_SFT)
    assert scores.target_logit.dtype == torch.float64
    with torch.no_grad():
        logits = sft(input_ids=torch.tensor([prompts[0].tokens])).logits[0, -1]
    # float64: closer than float32 could be
    assert scores.target_logit[0, 1].item() == pytest.approx(logits[prompts[0].target[0]].item(), abs=1e-10)


def test_a_frame_has_one_row_a_prompt_and_scheme_with_their_scores(grafted, prompts):
    scores = grafted.score(prompts, PRE_SFT)
    table = scores.to_frame(PRE_SFT, prompts=["a", "b", "c", "d"])
    assert list(table.columns) == ["prompt", "scheme", *(field.name for field in fields(Scores))]
    assert (
        len(table) == 8 and list(table.prompt) == [*"aabbccdd"] and list(table.scheme) == ["PRE", "SFT"] * 4
    )
    for place, row in enumerate(table.itertuples()):
        for field in fields(Scores):
            value = getattr(scores, field.name)[place // 2, place % 2].item()
            assert getattr(row, field.name) == pytest.approx(value, abs=0, rel=0, nan_ok=True)
    assert table.target_logprob.nunique() == 8  # nothing would be told from a repeated one
    by_number = scores.to_frame()
    assert list(by_number.prompt) == [0, 0, 1, 1, 2, 2, 3, 3] and list(by_number.scheme) == [0, 1] * 4
    assert list(scores.to_frame(["base", "tuned"]).scheme[:2]) == ["base", "tuned"]


def test_a_frame_takes_as_many_names_as_were_scored(grafted, prompts):
    scores = grafted.score(prompts, PRE_SFT)
    with pytest.raises(ValueError, match="schemes: 1 names for 2 schemes"):
        scores.to_frame(PRE_SFT[:1])
    with pytest.raises(ValueError, match="prompts: 3 names for 4 prompts"):
        scores.to_frame(prompts=["a", "b", "c"])


def test_without_pandas_a_frame_is_refused_in_one_line(grafted, prompts, monkeypatch):
    scores = grafted.score(prompts[:1], PRE_SFT)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"pip install pandas$") as raised:
        scores.to_frame()
    assert "\n" not in str(raised.value)
