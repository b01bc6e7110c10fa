"""Scores: what a scheme makes of a prompt's target, from the logits at the places that are read."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightgraft.errors import UserError

from .schemes import Scheme

if TYPE_CHECKING:
    import pandas

CACHED_LOGITS = 2**20
NAMES = ("rank", "logprob", "logit", "foil", "top1", "mass")  # of a reading


@dataclass(frozen=True)
class Scores:
    """Tensors on the CPU, one row a prompt, one column a scheme.

    The first five are about the first target token. target_rank: 1 + the number of tokens with a strictly
    greater logit. target_logprob: natural logarithm. foil_logit: NaN where the prompt has no foil.
    top1_token: the greedy choice (the smallest id among equals). exact_match: every target token is the greedy
    choice after the ones before it. joint_logprob: summed over all target tokens. watched_mass: the probability, in place of the
    first target token, of the prompt's watched tokens together; NaN where it watches none.
    """

    target_rank: Int[Tensor, "prompt scheme"]
    target_logprob: Float[Tensor, "prompt scheme"]
    target_logit: Float[Tensor, "prompt scheme"]
    foil_logit: Float[Tensor, "prompt scheme"]
    top1_token: Int[Tensor, "prompt scheme"]
    exact_match: Bool[Tensor, "prompt scheme"]
    joint_logprob: Float[Tensor, "prompt scheme"]
    watched_mass: Float[Tensor, "prompt scheme"]

    def to_frame(
        self, schemes: Sequence[Scheme | str] | None = None, prompts: Sequence[str] | None = None
    ) -> "pandas.DataFrame":
        """A pandas table, one row a prompt and scheme, prompt after prompt: the columns prompt and scheme, then one for each of
        these tensors under its name.

        schemes, prompts: what stands in the first two columns, as many as were scored and in their order; schemes may be those that
        were asked, and stand there by their names. Without them both are numbers from 0.
        Raises ValueError for another number of names, UserError where pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UserError(
                "to_frame: pandas is not installed, and nothing else here needs it; call: pip install pandas"
            ) from None
        n_prompts, n_schemes = self.target_rank.shape
        for what, names, size in (("prompts", prompts, n_prompts), ("schemes", schemes, n_schemes)):
            if names is not None and len(names) != size:
                raise ValueError(f"{what}: {len(names)} names for {size} {what} that were scored")
        asked = list(range(n_prompts)) if prompts is None else list(prompts)
        under = (
            list(range(n_schemes))
            if schemes is None
            else [scheme.name if isinstance(scheme, Scheme) else scheme for scheme in schemes]
        )
        columns = {"prompt": [name for name in asked for _ in under], "scheme": under * n_prompts}
        values = {field.name: getattr(self, field.name).flatten().numpy() for field in fields(self)}
        return pandas.DataFrame(columns | values)


@dataclass(frozen=True)
class Reading:
    """The same for single reads (one step of one prompt under one or more schemes)."""

    rank: Int[Tensor, " read"]
    logprob: Float[Tensor, " read"]
    logit: Float[Tensor, " read"]
    foil: Float[Tensor, " read"]
    top1: Int[Tensor, " read"]
    mass: Float[Tensor, " read"]


def measure(
    logits: Float[Tensor, "read vocab"],
    targets: Int[Tensor, " read"],
    foils: Int[Tensor, " read"],
    watched: Int[Tensor, "read watched"],
) -> Reading:
    """Reduce the logits of some reads; foils is -1 where there is none, and so is watched behind its last token. The result is on
    the CPU."""
    if logits.device.type == "cpu":  # some at a time: intermediate results stay in the processor's cache
        step = max(1, CACHED_LOGITS // logits.shape[1])
        if len(logits) > step:
            pieces = zip(*(whole.split(step) for whole in (logits, targets, foils, watched)), strict=True)
            return joined([measure(*piece) for piece in pieces])
    targets, foils = targets.to(logits.device)[:, None], foils.to(logits.device)[:, None]
    target = logits.gather(1, targets)
    foil = logits.gather(1, foils.clamp(min=0)).masked_fill(foils < 0, torch.nan)
    # Ones are added faster as floats than as booleans, and just as exactly: 2**24 is more than any vocabulary.
    # Compared straight into floats, they take a quarter of the time.
    greater = torch.gt(logits, target, out=torch.empty_like(logits)).sum(dim=1)
    norm = logits.logsumexp(dim=1)
    return Reading(
        rank=1 + greater.long().cpu(),
        logprob=(target[:, 0] - norm).cpu(),
        logit=target[:, 0].cpu(),
        foil=foil[:, 0].cpu(),
        top1=logits.argmax(dim=1).cpu(),
        mass=_mass(logits, norm, watched.to(logits.device)).cpu(),
    )


def _mass(
    logits: Float[Tensor, "read vocab"], norm: Float[Tensor, " read"], watched: Int[Tensor, "read watched"]
) -> Float[Tensor, " read"]:
    """The probability of the watched tokens together; NaN where there is none."""
    if not watched.shape[1]:
        return torch.full_like(norm, torch.nan)
    there = watched >= 0
    shares = (logits.gather(1, watched.clamp(min=0)) - norm[:, None]).exp().masked_fill(~there, 0)
    return shares.sum(dim=1).masked_fill(~there.any(dim=1), torch.nan)


def padded(tokens: Sequence[Sequence[int]]) -> Int[Tensor, "prompt watched"]:
    """Lists of token ids as one tensor, -1 behind the last of each."""
    most = max(map(len, tokens), default=0)
    rows = [[*some, *[-1] * (most - len(some))] for some in tokens]
    return torch.tensor(rows, dtype=torch.long).reshape(len(tokens), most)


class ScoreTable:
    """Collects the readings of all passes: (prompt, scheme, step) tables, steps beyond a target left at 0."""

    def __init__(self, targets: list[tuple[int, ...]], n_schemes: int, dtype: torch.dtype):
        self.n_steps = max((len(target) for target in targets), default=1)
        shape = (len(targets), n_schemes, self.n_steps)
        padded = [[*target, *[0] * (self.n_steps - len(target))] for target in targets]
        self.targets = torch.tensor(padded, dtype=torch.long).reshape(len(targets), self.n_steps)
        self.logprob, self.logit, self.foil, self.mass = torch.zeros(4, *shape, dtype=dtype).unbind()
        self.rank, self.top1 = torch.zeros(2, *shape, dtype=torch.long).unbind()

    def enter(
        self,
        prompts: Int[Tensor, " batch"],
        reads: Sequence[tuple[Int[Tensor, " _"], Int[Tensor, "_ scheme _"]]],
        reading: Reading,
    ) -> None:
        """Enter what was read for some prompts. reads: for some of these after the other, for scheme and step, which
        read it is."""
        for some, numbers in reads:
            for name in NAMES:
                getattr(self, name)[prompts[some], :, : numbers.shape[2]] = getattr(reading, name)[numbers]

    def not_finite(self) -> list[tuple[int, int]]:
        """The (prompt, scheme) pairs whose numbers overflowed."""
        return [
            (prompt, scheme) for prompt, scheme in (~self.logprob.isfinite()).any(dim=-1).nonzero().tolist()
        ]

    def scores(self) -> Scores:
        """Of a pair whose log-probability is not finite, nothing else means anything: rank 0 and token -1 say so."""
        for pair in self.not_finite():
            self.rank[pair], self.top1[pair] = 0, -1
            self.logprob[pair] = self.logit[pair] = self.foil[pair] = self.mass[pair] = torch.nan
        return Scores(
            target_rank=self.rank[..., 0],
            target_logprob=self.logprob[..., 0],
            target_logit=self.logit[..., 0],
            foil_logit=self.foil[..., 0],
            top1_token=self.top1[..., 0],
            exact_match=(self.top1 == self.targets[:, None]).all(dim=-1),
            joint_logprob=self.logprob.sum(dim=-1),
            watched_mass=self.mass[..., 0],
        )


def joined(readings: list[Reading]) -> Reading:
    """Readings of consecutive chunks as one."""
    return Reading(**{name: torch.cat([getattr(reading, name) for reading in readings]) for name in NAMES})
