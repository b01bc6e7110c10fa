"""E7: activation patching on stock models. The donor's residual stream behind a decoder block overwrites the recipient's.

No engine here: forward hooks on the blocks of transformers' own models. Prompts of one length share a pass, so nothing is padded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, product

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.evaluation.experiments import Patch
from weightgraft import Prompt
from weightgraft.engine.families import family_of
from weightgraft.engine.model import LOGITS_AT_ONCE
from weightgraft.engine.notation import contains, parse_positions
from weightgraft.engine.scores import Scores, ScoreTable, measure, padded

States = Float[Tensor, "row token width"]


def blocks_of(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder blocks; what a block gives is the residual stream behind it."""
    blocks = model.get_submodule(family_of(model.config.model_type).layers)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


@contextmanager
def hooked(model: PreTrainedModel, change: Callable[[int, States], States]) -> Iterator[None]:
    """While it lasts, every block gives change(layer, its residual stream). The hooks go away also when the pass fails."""
    handles = []
    try:
        for layer, block in enumerate(blocks_of(model)):

            def hook(module: nn.Module, inputs: tuple, output: States | tuple, layer: int = layer):
                if isinstance(output, tuple):
                    return (change(layer, output[0]), *output[1:])
                return change(layer, output)

            handles.append(block.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def residuals(model: PreTrainedModel, tokens: Tensor) -> list[States]:
    """The residual stream behind every block."""
    states: list[States] = []

    def keep(layer: int, stream: States) -> States:
        states.append(stream)
        return stream

    with hooked(model, keep):
        model(input_ids=tokens, use_cache=False, logits_to_keep=1)
    return states


def patched_logits(
    recipient: PreTrainedModel,
    tokens: Tensor,
    streams: Sequence[Float[Tensor, "prompt token width"]],
    places: Mapping[int, Bool[Tensor, "row token"]],
    n_reads: int,
) -> Float[Tensor, "row read vocab"]:
    """Logits of the last n_reads tokens, with the donor's stream behind each layer of `places` where the mask is true.

    streams: of each prompt once; its rows, one a patch, lie together. They are repeated a layer at a time: all layers at once
    would be the most memory that a pass takes.
    """

    def overwrite(layer: int, stream: States) -> States:
        if layer not in places:
            return stream
        donors = streams[layer].repeat_interleave(len(tokens) // len(streams[layer]), dim=0)
        return torch.where(places[layer][..., None], donors, stream)

    with hooked(recipient, overwrite):
        return recipient(input_ids=tokens, use_cache=False, logits_to_keep=n_reads).logits


def patched_tokens(prompt: Prompt, patch: Patch) -> list[bool]:
    """Which tokens of a prompt a patch overwrites; a target's tokens are never patched."""
    expression = parse_positions(patch.positions)
    return [
        contains(
            expression, frozenset(name for name, members in prompt.positions.items() if token in members)
        )
        for token in range(len(prompt.tokens))
    ] + [False] * (len(prompt.target) - 1)


def patched_sizes(prompts: Sequence[Prompt], patches: Sequence[Patch]) -> list[int]:
    """Tokens that each prompt takes: once a patch."""
    return [(len(prompt.tokens) + len(prompt.target) - 1) * len(patches) for prompt in prompts]


@torch.no_grad()
def score_patches(
    recipient: PreTrainedModel,
    donor: PreTrainedModel,
    prompts: Sequence[Prompt],
    patches: Sequence[Patch],
    token_budget: int,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Scores:
    """Score every prompt's target under every patch, as the engine scores schemes.

    The donor's streams are of its own run over the same prompt, the target fed back as in the patched run.
    token_budget: tokens in one pass, on the models' device. progress: called with (prompts done, prompts in all).
    """
    device, done = recipient.device, 0
    readable = torch.promote_types(recipient.dtype, torch.float32)
    table = ScoreTable([tuple(prompt.target) for prompt in prompts], len(patches), readable)
    most_reads = LOGITS_AT_ONCE // recipient.config.vocab_size  # the engine's own bound, of patched rows too
    foils = torch.tensor([-1 if prompt.foil is None else prompt.foil for prompt in prompts])
    watched = padded([prompt.watched for prompt in prompts])

    def shape(place: int) -> tuple[int, int]:
        return len(prompts[place].tokens), len(prompts[place].target)

    for (length, n_steps), alike in groupby(sorted(range(len(prompts)), key=shape), key=shape):
        places = list(alike)
        rows = min(token_budget // (length + n_steps - 1), most_reads // n_steps)
        size = max(1, rows // len(patches))
        for start in range(0, len(places), size):
            batch = places[start : start + size]
            tokens = torch.tensor(
                [[*prompts[place].tokens, *prompts[place].target[:-1]] for place in batch], device=device
            )
            masks = torch.tensor(
                [patched_tokens(prompts[place], patch) for place, patch in product(batch, patches)]
            )
            behind = {
                layer: (
                    masks & torch.tensor([layer in patch.layers for patch in patches] * len(batch))[:, None]
                ).to(device)
                for layer in sorted({layer for patch in patches for layer in patch.layers})
            }
            logits = patched_logits(
                recipient,
                tokens.repeat_interleave(len(patches), dim=0),
                residuals(donor, tokens),
                behind,
                n_steps,
            )
            numbers = torch.tensor(batch).repeat_interleave(len(patches) * n_steps)
            steps = torch.arange(n_steps).repeat(len(batch) * len(patches))
            reading = measure(
                logits.flatten(0, 1).float(), table.targets[numbers, steps], foils[numbers], watched[numbers]
            )
            order = torch.arange(len(numbers)).reshape(len(batch), len(patches), n_steps)
            table.enter(torch.tensor(batch), [(torch.arange(len(batch)), order)], reading)
            done += len(batch)
            progress(done, len(prompts))
    return table.scores()
