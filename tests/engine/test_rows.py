"""Where one model has added tokens, the rows that all have are grafted, and the softmax runs over these."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from tiny_models import FAMILY_NAMES, VOCAB, tiny_lora, tiny_model

from weightgraft import GraftedModel, Prompt, parse_scheme
from weightgraft.notes import Note, gathered

SEARCH = settings(
    max_examples=6,  # a family: 19 families, 114 pairs
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# Relative to the largest logit: float32 rounding, with sums in another order.
TOLERANCE = 1e-5
SCHEMES = [parse_scheme(text, donor="x") for text in ("PRE", "SFT", "embed@FE", "unembed@all")]


def with_rows(family: str, seed: int, rows: int, tied: bool):
    """A random model whose tables were resized after it was made, as Trainer's examples do."""
    model = tiny_model(family, seed, tie_word_embeddings=tied)
    model.resize_token_embeddings(rows, mean_resizing=False)
    return model.eval()


@torch.no_grad()
def plain(model, prompt: Prompt, rows: int) -> tuple[torch.Tensor, float]:
    """Logits behind the prompt, cut to the rows that are shared, and the target's log-probability over these."""
    ids = torch.tensor([[*prompt.tokens, *prompt.target]])
    logits = model(input_ids=ids).logits[0, len(prompt.tokens) - 1 : -1, :rows]
    logs = logits.log_softmax(dim=-1)
    return logits[0], sum(logs[step, token].item() for step, token in enumerate(prompt.target))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_models_with_other_numbers_of_tokens_share_the_rows_that_both_have(family):
    @SEARCH
    @given(
        ours=st.integers(VOCAB - 3, VOCAB + 70),
        theirs=st.integers(VOCAB - 3, VOCAB + 70),
        tied=st.tuples(st.booleans(), st.booleans()),
        tokens=st.lists(st.integers(0, VOCAB - 4), min_size=3, max_size=9),
        target=st.lists(st.integers(0, VOCAB - 4), min_size=1, max_size=2),
    )
    def agree(ours, theirs, tied, tokens, target):
        recipient, donor = with_rows(family, 0, ours, tied[0]), with_rows(family, 1, theirs, tied[1])
        rows = min(ours, theirs)
        prompt = Prompt(tokens=tokens, positions={"FE": (1,)}, target=target)
        with gathered() as notes:
            grafted = GraftedModel(recipient, {"x": donor})
        assert bool(notes) == (ours != theirs)
        if notes:
            who = "recipient" if ours > theirs else "x"
            assert f"{who} {max(ours, theirs)}; all models have the first {rows}" in notes[-1]
        logits, scores = grafted.logits([prompt], SCHEMES)[0], grafted.score([prompt], SCHEMES)
        assert logits.shape[1] == rows
        for i, model in enumerate((recipient, donor)):
            expected, joint = plain(model, prompt, rows)
            assert (logits[i] - expected).abs().max() <= TOLERANCE * expected.abs().max()
            # Two steps of a log-softmax of such logits.
            assert abs(scores.joint_logprob[0, i] - joint) <= 4 * TOLERANCE * expected.abs().max()
        for i in (2, 3):  # the tables count, each by itself
            assert min((logits[i] - logits[j]).abs().max() for j in (0, 1)) > 1e-3
        assert recipient.get_input_embeddings().weight.shape[0] == ours  # nobody's model was changed
        assert donor.get_output_embeddings().weight.shape[0] == theirs

    agree()


def test_a_token_that_only_one_model_has_is_refused():
    recipient, donor = tiny_model("llama", 0), with_rows("llama", 1, VOCAB + 1, False)
    for pre, sft in ((recipient, donor), (donor, recipient)):
        with pytest.warns(Note, match="the softmax runs over these"):
            grafted = GraftedModel(pre, {"x": sft})
        for prompt in (Prompt(tokens=(1, VOCAB), target=(2,)), Prompt(tokens=(1, 2), target=(VOCAB,))):
            with pytest.raises(
                ValueError, match=f"token id {VOCAB}; the vocabulary has ids 0 to {VOCAB - 1}"
            ):
                grafted.score([prompt], SCHEMES[:2])


def test_a_low_rank_update_of_the_unembedding_is_cut_with_it():
    pre = tiny_model("llama", 0)
    lora = tiny_lora(pre, 3, target_modules=["q_proj", "lm_head"])
    smaller = with_rows("llama", 1, VOCAB - 2, False)
    with gathered():
        grafted = GraftedModel(pre, {"x": lora, "small": smaller})
    prompt = Prompt(tokens=(5, 8, 3), target=(4,))
    expected, _ = plain(lora, prompt, VOCAB - 2)
    logits = grafted.logits([prompt], SCHEMES[:2])[0, 1]
    assert (logits - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_other_sizes_than_rows_are_refused():
    with pytest.raises(ValueError, match=r"config\.head_dim: 8, recipient 6"):
        GraftedModel(tiny_model("llama", 0), {"x": tiny_model("llama", 1, hidden_size=32, vocab_size=70)})
