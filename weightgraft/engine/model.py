"""GraftedModel: score prompts under grafting schemes, exactly, all schemes of a prompt in one pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .allocator import keep_freed_memory
from .attention import (
    PACKED,
    OnlyRead,
    Readings,
    looks_back_only,
    passing,
    register_packed_attention,
    split_rows,
)
from .clone import shallow_clone
from .configs import check_window, logit_cap, logit_scale, longest_prompt
from .donors import Donor, base_of, check_names, sources_of
from .families import family_of
from .lasting import held_to
from .layout import build_batch
from .leaves import RoutedLeaf, RoutedLinear
from .mixtures import Leaf, mix
from .objects import check_recipient
from .packing import Batch
from .parts import after_last_attention, anatomy_of, check_paths, leaves_of, linear_parts
from .planning import LAST, Plan, batches, make_plan
from .probing import probe
from .routing import Routing
from .rows import cut_to, shared_rows, table_paths, tell_rows
from .schemes import RECIPIENT, Prompt, Scheme, check_asked
from .scores import Scores, ScoreTable, joined, measure, padded
from .surroundings import check_in_order
from .vocabularies import check_tokenizers

TOKEN_BUDGET = 4096
SHORTER = ", the least of their max_position_embeddings and of sliding windows that differ"
OWN = ", as many as code that is not transformers' was asked, alone and grafted"
LOGITS_AT_ONCE = 2**25  # bounds the memory of the unembedding, whatever the vocabulary


class GraftedModel:
    """A recipient and its donors, ready to be scored under grafting schemes. None of them is changed.

    recipient: the model that serves by default. donors: by name (letters, digits and _), models of the same
    architecture, peft models with LoRA adapters on the recipient's weights, directories of such adapters, or lists of
    directories of adapters that stand on each other (SFT, then DPO), which add up; and mixtures of these with the recipient.
    tokenizers: optionally, by the same names and `recipient`, to be checked for giving the same ids.
    longest_prompt: how many tokens a prompt may have with its target, the last of them not counted.
    Where a donor has other numbers of tokens, the rows that all have are grafted, and all probabilities are over these.
    Raises ValueError for an unknown family or a variant of one with weights elsewhere, for models that are not whole, plain
    and finite, and for a donor that computes something else than the recipient would with its weights, naming the first
    difference.
    Under torch.device("meta") models without numbers are taken, to be asked for their anatomy and for plans.

    Method: dynamic weight grafting (arXiv 2506.20746, section 3). Every weight of a decoder acts on one token
    at a time, so one pass in which each weight-bearing module picks its owner per token equals running the
    tokens one by one, each with its own weights, on one key/value cache.
    """

    def __init__(
        self,
        recipient: PreTrainedModel,
        donors: Mapping[str, Donor],
        tokenizers: Mapping[str, PreTrainedTokenizerBase] | None = None,
    ):
        check_recipient(recipient)
        family = family_of(recipient.config.model_type)
        if not looks_back_only(recipient.config):
            raise ValueError(
                "recipient: its config asks for bidirectional attention; grafting needs causal attention"
            )
        check_window(recipient)
        check_names(donors)
        self.owners = {RECIPIENT: 0} | {name: number for number, name in enumerate(donors, start=1)}
        if tokenizers:
            check_tokenizers(tokenizers, donors)
        check_in_order(recipient, family)
        self.anatomy = anatomy_of(recipient, family)
        leaves = list(leaves_of(family, self.anatomy))
        check_paths(recipient, [path for path, *_ in leaves])
        sources = sources_of(donors, recipient, [path for path, *_ in leaves])
        bases = [base_of(donor, recipient) for donor in donors.values()]
        self._rows = shared_rows([recipient, *bases])
        self.longest_prompt = longest_prompt(recipient, *bases)
        self._why = SHORTER if self.longest_prompt < longest_prompt(recipient) else ""
        tables = table_paths(recipient)
        tell_rows(self._rows, {RECIPIENT: recipient, **dict(zip(donors, bases, strict=True))})
        self._cap, self._scale = logit_cap(recipient), logit_scale(recipient)
        self._device = recipient.device
        self._readable = torch.promote_types(recipient.dtype, torch.float32)
        self._trunk, self._last, self._readout = Routing(), Routing(), Routing()
        if self._device.type == "cpu":
            keep_freed_memory()
        register_packed_attention()
        skeleton = shallow_clone(recipient).eval()
        skeleton.config._attn_implementation = PACKED
        skeleton.config.return_dict, skeleton.config.output_hidden_states = True, False
        skeleton.config.pad_token_id = None  # GPT-2 warns where a token has this id, padding or not
        wholes = after_last_attention(family, self.anatomy)
        found: dict[str, list[Leaf]] = {
            path: [skeleton.get_submodule(path), *(source(path) for source in sources)] for path, *_ in leaves
        }
        found |= {path: [cut_to(each, self._rows) for each in found[path]] for path in tables}
        mix(found, donors)
        for path, leaf, slots, reads in leaves:
            own, modules = found[path][0], found[path]
            assert isinstance(own, nn.Module)
            routing = self._readout if reads else self._last if path in wholes else self._trunk
            parts = linear_parts(path, leaf, own, slots, self.anatomy)
            if parts is None:
                (slot,) = slots.values()
                routed: nn.Module = RoutedLeaf(
                    modules, routing, slot, leaf.token_dim, self.anatomy.head_width
                )
            else:
                routed = RoutedLinear(modules, routing, *parts)
            skeleton.set_submodule(path, routed)
        # Nothing looks at other rows of the last layer than those that are read, once it has their keys and values.
        for path in dict.fromkeys(wholes.values()):
            skeleton.set_submodule(path, OnlyRead(skeleton.get_submodule(path)))
        split_rows(list(skeleton.get_submodule(family.layers).children()))
        # Logits are wanted at few rows: the final norm moves from the backbone to the readout.
        self._final_norm = skeleton.get_submodule(family.final_norm.path)
        self._unembed = skeleton.get_submodule(family.unembed.path)
        skeleton.set_submodule(family.final_norm.path, Readings())
        self._backbone = skeleton.get_submodule(family.backbone)
        self._check_lasting = held_to({RECIPIENT: recipient, **donors})
        asked = probe({RECIPIENT: recipient, **donors}, self.longest_prompt, self._rows, self.logits)
        self._why = self._why if asked == self.longest_prompt else OWN
        self.longest_prompt = asked

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[Prompt],
        schemes: Sequence[Scheme],
        *,
        decode_route: str = LAST,
        token_budget: int = TOKEN_BUDGET,
        progress: Callable[[int, int], None] | None = None,
        allow_nan: bool = False,
        logits: Float[Tensor, "prompt scheme vocab"] | None = None,
    ) -> Scores:
        """Score every prompt's target under every scheme.

        decode_route: what serves the target's tokens as they are fed back: `last` (as the last prompt token),
        `recipient`, or a donor's name. token_budget: tokens in one pass, or those of one prompt under all schemes
        if they are more; it decides on speed and memory, and on results only by rounding. progress: called with
        (prompts done, prompts in all).
        allow_nan: whether a number that is not finite is told as NaN, with rank 0 and greedy token -1, instead of raised.
        logits: a tensor (no_logits) that takes what `logits` gives: it is read anyway, and a second pass would take as long.
        Raises ValueError for a prompt, scheme or decode_route that does not fit, naming it, and
        FloatingPointError where a target's log-probability is not a finite number, naming the first such prompt and scheme.
        """
        check_asked(prompts, schemes)
        for place, prompt in enumerate(prompts):
            if not prompt.target:
                raise ValueError(f"prompt {place} has no target to score")
        plan = self.plan(prompts, schemes, decode_route)
        table = ScoreTable([tuple(prompt.target) for prompt in prompts], len(schemes), self._readable)
        all_foils = torch.tensor([-1 if prompt.foil is None else prompt.foil for prompt in prompts])
        all_watched = padded([prompt.watched for prompt in prompts])
        for chosen, batch, hidden in self._passes(prompts, plan, token_budget, progress):
            places = torch.tensor(chosen)
            numbers = places[batch.read_prompts]
            asked = table.targets[numbers, batch.read_steps], all_foils[numbers], all_watched[numbers]
            readings, pieces = [], []
            for start, read in self._logits(batch, hidden):
                read = read.to(self._readable)
                readings.append(measure(read, *(some[start : start + len(read)] for some in asked)))
                pieces += [] if logits is None else [read.cpu()]
            table.enter(places, batch.reads, joined(readings))
            if logits is not None:
                _enter(logits, chosen, batch, pieces)
        if not allow_nan and (bad := table.not_finite()):
            place, column = bad[0]
            raise FloatingPointError(
                f"prompt {place} under scheme {schemes[column].name!r}: the target's log-probability is not finite"
            )
        return table.scores()

    @torch.no_grad()
    def logits(
        self, prompts: Sequence[Prompt], schemes: Sequence[Scheme], *, token_budget: int = TOKEN_BUDGET
    ) -> Float[Tensor, "prompt scheme vocab"]:
        """Logits of the token after the prompt, on the CPU. For few prompts: each takes schemes x vocabulary. Where a
        scheme's are not finite, those of the others are what they are."""
        plan = self.plan(prompts, schemes, score_target=False)
        output = self.no_logits(prompts, schemes)
        for chosen, batch, hidden in self._passes(prompts, plan, token_budget, None):
            read = [logits.to(self._readable).cpu() for _, logits in self._logits(batch, hidden)]
            _enter(output, chosen, batch, read)
        return output

    def no_logits(self, prompts: Sequence, schemes: Sequence) -> Float[Tensor, "prompt scheme vocab"]:
        """Room for the logits of these prompts under these schemes, over the tokens that all models have."""
        return torch.zeros(len(prompts), len(schemes), self._rows, dtype=self._readable)

    def node_counts(
        self, prompts: Sequence[Prompt], schemes: Sequence[Scheme], *, decode_route: str = LAST
    ) -> list[int]:
        """Token-layers that `score` computes for each prompt: for each layer, its distinct routes up to there, summed."""
        plan = self.plan(prompts, schemes, decode_route)
        return [plan.trie(place).token_layers(self.anatomy.n_layers) for place in range(len(prompts))]

    def row_counts(
        self, prompts: Sequence[Prompt], schemes: Sequence[Scheme], *, decode_route: str = LAST
    ) -> list[int]:
        """Tokens of each prompt in the layer that has most, the last: what a token budget counts, and what takes memory."""
        plan = self.plan(prompts, schemes, decode_route)
        return [plan.trie(place).rows for place in range(len(prompts))]

    def plan(
        self,
        prompts: Sequence[Prompt],
        schemes: Sequence[Scheme],
        decode_route: str = LAST,
        score_target: bool = True,
    ) -> Plan:
        """What is computed for each prompt (planning.py). Raises ValueError for what does not fit."""
        check_asked(prompts, schemes)
        limit, vocab = self.longest_prompt, self._rows
        for place, prompt in enumerate(prompts):
            foil = [] if prompt.foil is None else [prompt.foil]
            ids = [*prompt.tokens, *prompt.target, *foil, *prompt.watched]
            if min(ids) < 0 or max(ids) >= vocab:
                wrong = min(ids) if min(ids) < 0 else max(ids)
                raise ValueError(
                    f"prompt {place} has token id {wrong}; the vocabulary has ids 0 to {vocab - 1}"
                )
            length = len(prompt.tokens) + max(0, len(prompt.target) - 1)
            if length > limit:
                raise ValueError(
                    f"prompt {place} has {length} tokens with its target; the models take {limit}{self._why}"
                )
        return make_plan(prompts, schemes, self.owners, self.anatomy, decode_route, score_target)

    def _passes(
        self,
        prompts: Sequence[Prompt],
        plan: Plan,
        token_budget: int,
        progress: Callable[[int, int], None] | None,
    ) -> Iterator[tuple[list[int], Batch, Float[Tensor, "read width"]]]:
        """For each pass: the prompts in it, their layout, and the hidden states at the rows to be read."""
        self._check_lasting()
        done = 0
        for chosen in batches(plan, token_budget):
            tries = [plan.trie(prompt) for prompt in chosen]
            tokens = [(*prompts[prompt].tokens, *prompts[prompt].target) for prompt in chosen]
            batch = build_batch(tries, tokens, plan.trunks, plan.readouts, plan.ends, self._device)
            hidden = self._run(batch, contained=False)
            # What is not finite spoils what is packed with it (0 x NaN is NaN), unless it is contained, which takes time.
            if not hidden.isfinite().all():
                hidden = self._run(batch, contained=True)
            yield chosen, batch, hidden
            done += len(chosen)
            if progress is not None:
                progress(done, len(prompts))

    def _run(self, batch: Batch, contained: bool) -> Float[Tensor, "read width"]:
        with (
            self._last.serving(batch.last.groups, self._device),
            passing(batch, self._trunk, contained) as now,
        ):
            self._backbone(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False)
            assert now.read is not None
            return now.read

    def _logits(
        self, batch: Batch, hidden: Float[Tensor, "read width"]
    ) -> Iterator[tuple[int, Float[Tensor, "some_reads vocab"]]]:
        """Logits of the reads, some at a time: (number of the first, logits)."""
        step = max(1, LOGITS_AT_ONCE // self._rows)
        cap, scale = self._cap, self._scale
        for start in range(0, len(hidden), step):
            some = hidden[None, start : start + step]
            groups = batch.readout.between(start, start + some.shape[1])
            with self._readout.serving(groups, self._device):
                logits = self._unembed(self._final_norm(some))[0]
            logits = logits if scale == 1 else logits * scale
            yield start, logits if cap is None else torch.tanh(logits / cap) * cap


def _enter(
    kept: Float[Tensor, "prompt scheme vocab"], chosen: list[int], batch: Batch, pieces: list[Tensor]
) -> None:
    """Put the logits behind the prompts of one pass in their places. pieces: of all its reads, in their order."""
    logits = torch.cat(pieces)
    for some, reads in batch.reads:
        kept[torch.tensor(chosen)[some]] = logits[reads[:, :, 0]]
