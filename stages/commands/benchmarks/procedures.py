"""The procedures that are compared, as plain functions from models, prompts and schemes to scores or logits."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from weightgraft import GraftedModel, Prompt, Scheme
from weightgraft.engine.families import Leaf, family_of
from weightgraft.engine.leaves import transposed_weight
from weightgraft.engine.model import LOGITS_AT_ONCE, TOKEN_BUDGET
from weightgraft.engine.parts import anatomy_of, leaves_of, linear_parts
from weightgraft.engine.planning import LAST, Plan, batches
from weightgraft.engine.routes import Owner, Serving, resolve, serving
from weightgraft.engine.schemes import RECIPIENT


@torch.no_grad()
def token_by_token(
    recipient: PreTrainedModel, donors: Mapping[str, PreTrainedModel], prompt: Prompt, scheme: Scheme
) -> Float[Tensor, " vocab"]:
    """Logits after the prompt, by the paper's own procedure (arXiv 2506.20746, section 3), literally.

    For every token: copy the whole recipient, put the donors' weights in where the scheme says, run that one
    token on the key/value cache of those before it. Whole modules are put in by reference, which costs nothing:
    the procedure is measured at its best. Raises ValueError for a scheme that grafts single heads, or cuts attention.
    """
    family = family_of(recipient.config.model_type)
    anatomy = anatomy_of(recipient, family)
    owners = {RECIPIENT: 0} | {name: number for number, name in enumerate(donors, start=1)}
    if scheme.cuts or any(graft.heads is not None for graft in scheme.grafts):
        raise ValueError(
            f"scheme {scheme.name!r}: the token-by-token procedure knows no single heads and no cuts"
        )
    resolved, leaves = resolve([scheme], owners, anatomy), list(leaves_of(family, anatomy))
    cache = DynamicCache(config=recipient.config)
    logits = torch.empty(0)
    for place, token in enumerate(prompt.tokens):
        model = copy.deepcopy(recipient)
        inside = frozenset(name for name, members in prompt.positions.items() if place in members)
        trunk, readout = serving(scheme, inside, owners, resolved, anatomy)
        for path, leaf, slots, reads in leaves:
            _put(model, [recipient, *donors.values()], path, leaf, slots, readout if reads else trunk)
        logits = model(
            input_ids=torch.tensor([[token]], device=model.device),
            position_ids=torch.tensor([[place]], device=model.device),
            past_key_values=cache,
            use_cache=True,
        ).logits
    return logits[0, -1]


def _put(
    model: PreTrainedModel,
    models: Sequence[PreTrainedModel],
    path: str,
    leaf: Leaf,
    slots: dict[str, int],
    served: Serving,
) -> None:
    """Put the owners' weights of one module into a copy of the recipient."""
    module = model.get_submodule(path)
    owners = [served[slot] for slot in slots.values()]
    if len(set(owners)) == 1:
        if owners[0] != 0:
            model.set_submodule(path, _of(owners[0], models).get_submodule(path))
        return
    parts = linear_parts(path, leaf, module, slots, anatomy_of(model, family_of(model.config.model_type)))
    assert parts is not None
    weight, bias = transposed_weight(module)
    for part in parts[0]:
        theirs, their_bias = transposed_weight(_of(served[part.slot], models).get_submodule(path))
        for start, stop in part.spans:
            weight[:, start:stop] = theirs[:, start:stop]
            if bias is not None and their_bias is not None:
                bias[start:stop] = their_bias[start:stop]


def _of(owner: Owner, models: Sequence[PreTrainedModel]) -> PreTrainedModel:
    assert isinstance(owner, int)  # a tuple is one owner a head
    return models[owner]


def masked(
    grafted: GraftedModel, prompts: Sequence[Prompt], schemes: Sequence[Scheme]
) -> Float[Tensor, "prompt scheme"]:
    """Log-probabilities of the targets, one masked pass over all prompts for each scheme: nothing is shared."""
    return torch.cat([grafted.score(prompts, [scheme]).target_logprob for scheme in schemes], dim=1)


def packed(
    grafted: GraftedModel, prompts: Sequence[Prompt], schemes: Sequence[Scheme]
) -> Float[Tensor, "prompt scheme"]:
    """Log-probabilities of the targets, all schemes of a prompt in one packed pass. Planning, layout and
    reduction to scores are part of it."""
    return grafted.score(prompts, schemes).target_logprob


class WholeRows(GraftedModel):
    """The engine as it packed before rows split between layers: several schemes share a token's row where all layers up to there
    are served alike, in all layers or in none. Everything but the plan is the engine's own."""

    def plan(
        self,
        prompts: Sequence[Prompt],
        schemes: Sequence[Scheme],
        decode_route: str = LAST,
        score_target: bool = True,
    ) -> Plan:
        plan = super().plan(prompts, schemes, decode_route, score_target)
        return replace(
            plan, tries=tuple(replace(trie, levels=trie.levels[-1:], starts=(0,)) for trie in plan.tries)
        )


@dataclass(frozen=True)
class Rows:
    """One batch of the packed engine as a stock model takes it: same tokens, positions, mask and places to read.

    ids, positions: (prompt, node). mask: what is added to attention scores; one for all prompts where they share
    it. reads: the places of the flattened grid at which logits are wanted.
    """

    ids: Int[Tensor, "prompt node"]
    positions: Int[Tensor, "prompt node"]
    mask: Float[Tensor, "mask_batch 1 node node"]
    reads: Int[Tensor, " read"]


def packed_rows(
    grafted: GraftedModel,
    recipient: PreTrainedModel,
    prompts: Sequence[Prompt],
    schemes: Sequence[Scheme],
    token_budget: int = TOKEN_BUDGET,
) -> list[Rows]:
    """The rows that `grafted.score` runs, in its batches. Prompts of one batch must have equally many, and the same in
    all layers: a stock model would have to pad, and knows no others (ValueError)."""
    plan = grafted.plan(prompts, schemes)
    rows = []
    for chosen in batches(plan, token_budget):
        tries = [plan.trie(prompt) for prompt in chosen]
        if len({trie.rows for trie in tries}) > 1:
            raise ValueError("prompts of one batch have different numbers of nodes; a stock model would pad")
        if any(len(trie.levels) > 1 for trie in tries):
            raise ValueError("rows split between layers; a stock model has the same in all")
        levels = [trie.levels[0] for trie in tries]
        tokens = [np.array([*prompts[prompt].tokens, *prompts[prompt].target]) for prompt in chosen]
        ids = np.stack([own[level.depths] for own, level in zip(tokens, levels, strict=True)])
        distinct = levels[:1] if len({id(level) for level in levels}) == 1 else levels
        allowed = torch.from_numpy(
            np.stack([level.tile(np.arange(len(level))).allowed for level in distinct])
        )
        mask = torch.zeros(allowed.shape, dtype=recipient.dtype).masked_fill_(
            ~allowed, torch.finfo(recipient.dtype).min
        )
        reads = [place * trie.rows + trie.read_nodes for place, trie in enumerate(tries)]
        on_device = (
            part.to(recipient.device)
            for part in (
                torch.from_numpy(ids),
                torch.from_numpy(np.stack([level.depths for level in levels])),
                mask.unsqueeze(1),
                torch.from_numpy(np.concatenate(reads)),
            )
        )
        rows.append(Rows(*on_device))
    return rows


@torch.no_grad()
def plain(model: PreTrainedModel, rows: Sequence[Rows]) -> Iterator[Float[Tensor, "some_reads vocab"]]:
    """Logits of one stock model over the same rows: what the packed pass would cost without any routing. As the
    engine does, it unembeds only what is read, some at a time; its last layer, unlike the engine's, is whole, as a
    stock model's is."""
    head, step = model.get_output_embeddings(), max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for batch in rows:
        states = model.base_model(
            input_ids=batch.ids, position_ids=batch.positions, attention_mask=batch.mask, use_cache=False
        ).last_hidden_state
        hidden = states.flatten(0, 1).index_select(0, batch.reads)
        for some in hidden.split(step):
            yield head(some)


@torch.no_grad()
def unpacked(
    model: PreTrainedModel, prompts: Sequence[Prompt], n_passes: int
) -> Float[Tensor, "prompt vocab"]:
    """Logits of one stock model after each prompt, n_passes times: as many passes as there are schemes."""
    size = max(1, TOKEN_BUDGET // len(prompts[0].tokens))
    ids = torch.tensor([prompt.tokens for prompt in prompts], device=model.device)
    for _ in range(n_passes):
        logits = [model(input_ids=some, logits_to_keep=1).logits[:, -1] for some in ids.split(size)]
    return torch.cat(logits)
