"""Claims about activation patching: what is overwritten, with what, and that nothing else is touched."""

import copy

import pytest
import torch
from tiny_models import tiny_model

from stages.evaluation.experiments import Patch
from stages.evaluation.patching import blocks_of, hooked, score_patches
from weightgraft import GraftedModel, Prompt, parse_scheme
from weightgraft.engine.families import family_of

FAMILIES = ("gpt2", "gpt_neox", "llama", "gemma")
PATCHES = [
    Patch("patch FE[0]", "FE", (0,)),
    Patch("patch LT[1]", "LT", (1,)),
    Patch("patch FE+LT[2]", "FE+LT", (2,)),
    Patch("patch (FE+LT)^C[all]", "(FE+LT)^C", (0, 1, 2)),
    Patch("patch FE[all]", "FE", (0, 1, 2)),
]
PROMPTS = [
    Prompt(tokens=(7, 12, 45, 3, 18, 9), positions={"FE": (1, 2)}, target=(30,), foil=4),
    Prompt(tokens=(7, 50, 13, 3, 18, 9), positions={"FE": (2,)}, target=(31,), foil=5),
    Prompt(tokens=(22, 1, 33, 60, 2, 8, 14, 0), positions={"FE": (2, 3, 4)}, target=(11, 12), foil=6),
    Prompt(tokens=(40, 41, 42), positions={"FE": (0,)}, target=(5, 6, 7), foil=8),
]


@pytest.fixture(scope="module", params=FAMILIES)
def models(request):
    return tiny_model(request.param, seed=0), tiny_model(request.param, seed=1)


def literal(pre, sft, prompt: Prompt, patch: Patch) -> torch.Tensor:
    """Logits of the next token, one prompt at a time: run block by block by hand-set hooks, one token overwritten after another."""
    tokens = torch.tensor([prompt.tokens])
    wanted: dict[int, torch.Tensor] = {}
    handles = []
    for layer in patch.layers:
        block = sft.get_submodule(f"{family_of(sft.config.model_type).layers}.{layer}")

        def remember(module, inputs, output, layer=layer):
            wanted[layer] = (output[0] if isinstance(output, tuple) else output).clone()

        handles.append(block.register_forward_hook(remember))
    with torch.no_grad():
        sft(input_ids=tokens)
    places = {
        "FE": prompt.positions["FE"],
        "LT": prompt.positions["LT"],
        "FE+LT": (*prompt.positions["FE"], *prompt.positions["LT"]),
        "(FE+LT)^C": [
            i
            for i in range(len(prompt.tokens))
            if i not in (*prompt.positions["FE"], *prompt.positions["LT"])
        ],
    }[patch.positions]
    for layer in patch.layers:
        block = pre.get_submodule(f"{family_of(pre.config.model_type).layers}.{layer}")

        def overwrite(module, inputs, output, layer=layer):
            stream = (output[0] if isinstance(output, tuple) else output).clone()
            for place in places:
                stream[0, place] = wanted[layer][0, place]
            return (stream, *output[1:]) if isinstance(output, tuple) else stream

        handles.append(block.register_forward_hook(overwrite))
    with torch.no_grad():
        logits = pre(input_ids=tokens).logits[0, -1]
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("token_budget", [1, 10_000])
def test_patching_equals_the_literal_procedure(models, token_budget):
    pre, sft = models
    scores = score_patches(pre, sft, PROMPTS, PATCHES, token_budget)
    for i, prompt in enumerate(PROMPTS):
        for j, patch in enumerate(PATCHES):
            logits = literal(pre, sft, prompt, patch)
            target = prompt.target[0]
            # Batched and single products round differently: float32, 3 layers.
            assert scores.target_logit[i, j].item() == pytest.approx(logits[target].item(), abs=1e-5)
            assert scores.foil_logit[i, j].item() == pytest.approx(logits[prompt.foil].item(), abs=1e-5)
            logprob = logits.log_softmax(dim=0)[target].item()
            assert scores.target_logprob[i, j].item() == pytest.approx(logprob, abs=1e-5)
            assert scores.target_rank[i, j] == 1 + (logits > logits[target]).sum()
            assert scores.top1_token[i, j] == logits.argmax()
    assert scores.target_logit.std(dim=1).min() > 1e-2  # the patches do differ


def test_patching_nothing_gives_pre_and_everything_in_the_last_layer_gives_sfts_stream(models):
    pre, sft = models
    nothing, everything = Patch("nothing", "FE", ()), Patch("everything", "all", (2,))
    scores = score_patches(pre, sft, PROMPTS, [nothing, everything], 10_000)
    schemes = [
        parse_scheme(text, donor="sft") for text in ("PRE", "SFT", "SFT, recipient:final_norm+unembed@all")
    ]
    expected = GraftedModel(pre, {"sft": sft}).score(PROMPTS, schemes)
    assert not torch.allclose(expected.target_logprob[:, 0], expected.target_logprob[:, 2], atol=1e-2)
    for mine, column in ((0, 0), (1, 2)):
        for name in ("target_logit", "foil_logit", "target_logprob"):
            ours, theirs = getattr(scores, name)[:, mine], getattr(expected, name)[:, column]
            assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(scores.exact_match[:, 0], expected.exact_match[:, 0])


def test_a_target_fed_back_is_not_patched(models):
    pre, sft = models
    prompt, steps = PROMPTS[3], []
    for step, token in enumerate(prompt.target):
        longer = (*prompt.tokens, *prompt.target[:step])
        fed = Prompt(tokens=longer, positions={"last_of_prompt": (2,)}, target=(token,))
        patch = Patch("x", "last_of_prompt", (0, 1, 2))
        steps.append(score_patches(pre, sft, [fed], [patch], 10_000).target_logprob[0, 0].item())
    whole = score_patches(pre, sft, [prompt], [Patch("x", "LT", (0, 1, 2))], 10_000)
    assert whole.joint_logprob[0, 0].item() == pytest.approx(sum(steps), abs=1e-5)


def test_models_and_their_hooks_are_as_before(models):
    pre, sft = models
    before = [copy.deepcopy(model.state_dict()) for model in models]
    score_patches(pre, sft, PROMPTS, PATCHES, 10_000)
    for model, weights in zip(models, before, strict=True):
        assert not any(module._forward_hooks for module in model.modules())
        assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_hooks_are_gone_after_an_exception(models):
    pre, _ = models
    tokens = torch.tensor([PROMPTS[0].tokens])

    def fail(layer: int, stream: torch.Tensor) -> torch.Tensor:
        assert blocks_of(pre)[layer]._forward_hooks
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"), hooked(pre, fail):
        pre(input_ids=tokens)
    assert not any(module._forward_hooks for module in pre.modules())
