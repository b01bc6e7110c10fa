"""Models with code of somebody's own are asked before they are grafted.

Grafting runs the rows of many prompts side by side, with its own attention, and from the backbone to the unembedding only. What
torch, transformers and peft wrote is known to give the same so (tests/engine). Of other code only the numbers can tell: a module
that looks at other tokens than its own, another attention, other masks, something behind the unembedding. So a model that has any
is asked some tokens by itself and grafted, several prompts in one pass.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from .clone import shallow_clone
from .objects import is_real
from .origins import own_code
from .schemes import RECIPIENT, Graft, Prompt, Scheme

LONGEST, PART = 512, 5  # tokens of a prompt, and of a shorter one that goes with it
# Of the largest logit, between two orders of summing: in float32, and in units of the rounding of a shorter type.
ROUNDING, ROUNDINGS = 1e-3, 13
Ask = Callable[[Sequence[Prompt], Sequence[Scheme]], Float[Tensor, "prompt scheme vocab"]]


@torch.no_grad()
def probe(models: Mapping[str, object], limit: int, rows: int, ask: Ask) -> int:
    """How many tokens a prompt may have: what somebody's own code does with more than it was asked, nobody knows.
    Raises ValueError where a model that runs somebody's own code gives other logits grafted than by itself.

    models: the recipient and the donors, of which those are asked that are modules. limit: tokens that a prompt may have. rows: of
    the vocabulary. ask: gives the logits behind prompts under schemes.
    """
    if not is_real():
        return limit
    whole = {name: model for name, model in models.items() if isinstance(model, nn.Module)}
    own = next((found for model in whole.values() if (found := own_code(model))), None)
    if own is None:
        return limit
    tokens = [(1 + 7919 * place) % rows for place in range(min(LONGEST, limit))]
    prompts = [Prompt(tokens=some) for some in (tokens, tokens[::-1], tokens[:PART])]
    said = (
        f"its code is not all transformers' ({own}), and grafting cannot run it: by itself and grafted, it "
        "must give the same logits"
    )
    for number, (name, model) in enumerate(whole.items()):
        what = f"donor {name!r}" if number else name
        schemes = [
            Scheme(each, () if each == RECIPIENT else (Graft(positions="all", donor=each),)) for each in whole
        ]
        try:
            alone = shallow_clone(cast(PreTrainedModel, model), what).eval()
            plain = torch.stack([_logits(alone, prompt)[:rows] for prompt in prompts])
            grafted = ask(prompts, schemes)[:, number]
        except Exception as error:  # whatever somebody's own code raises
            raise ValueError(
                f"{what}: {said}; {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        gap, largest = (grafted - plain).abs().max().item(), plain.abs().max().item()
        eps = torch.finfo(next(alone.parameters()).dtype).eps
        if not gap <= max(ROUNDING, ROUNDINGS * eps) * largest:
            raise ValueError(
                f"{what}: {said}, but those of {len(tokens)} tokens differ by {gap:.2g} (the largest is {largest:.2g}); use "
                "transformers' own classes and functions, or what computes the same token by token"
            )
    return len(tokens)


def _logits(model: nn.Module, prompt: Prompt) -> Float[Tensor, " vocab"]:
    """The logits behind a prompt by a model's own forward pass, on the CPU."""
    device = next(model.parameters()).device
    answer = model(input_ids=torch.tensor([[*prompt.tokens]], device=device), use_cache=False)
    logits = answer.logits[0, -1]
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).cpu()
