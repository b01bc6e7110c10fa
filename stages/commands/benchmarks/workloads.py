"""What is scored: random prompts with spans for FE and LT, and the schemes of the paper or of a component sweep."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from transformers import PreTrainedModel

from weightgraft import Prompt, Scheme, parse_scheme

POSITION_SCHEMES = ("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "LT^C")
GRID_COMPONENTS = (
    "ATTN+O+FFN",
    "ATTN+FFN",
    "ATTN+O",
    "O+FFN",
    "FFN",
    "O",
    "O+FFN-UP",
    "O+FFN-DOWN",
)
GRID_LAYERS = ("[second_half]", "[last_quarter]", "")
PROMPT_TOKENS = 15
FE_START = 4
FE_WIDTHS = (2, 3, 1)  # tokens of a name, in turn: prompts of three shapes, all with the same number of nodes
WORST_TARGET = 1000


@dataclass(frozen=True)
class Workload:
    """Prompts of one length, to be scored under every scheme."""

    prompts: tuple[Prompt, ...]
    schemes: tuple[Scheme, ...]

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompts[0].tokens)

    @property
    def cells(self) -> int:
        """How many (prompt, scheme) pairs there are."""
        return len(self.prompts) * len(self.schemes)


def random_prompts(
    n_prompts: int, vocab_size: int, length: int = PROMPT_TOKENS, seed: int = 0
) -> tuple[Prompt, ...]:
    """Prompts of random tokens with a random target of one token. FE begins at the fifth token."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocab_size, (n_prompts, length + 1), generator=generator).tolist()
    return tuple(
        Prompt(
            tokens=row[:-1],
            positions={"FE": range(FE_START, FE_START + FE_WIDTHS[place % len(FE_WIDTHS)])},
            target=row[-1:],
        )
        for place, row in enumerate(ids)
    )


@torch.no_grad()
def aim(prompts: Sequence[Prompt], model: PreTrainedModel) -> tuple[Prompt, ...]:
    """The prompts with targets that the model ranks 1 to 1000, evenly on a logarithmic scale: as after a
    finetuning that taught some facts well and others badly. The rank of a random token would say little."""
    tokens = torch.tensor([prompt.tokens for prompt in prompts], device=model.device)
    ranking = model(input_ids=tokens, logits_to_keep=1).logits[:, -1].argsort(dim=-1, descending=True)
    worst = min(WORST_TARGET, ranking.shape[1])
    places = torch.logspace(0, torch.tensor(worst).log10().item(), len(prompts)).round().long() - 1
    return tuple(
        replace(prompt, target=(int(ranking[row, place]),))
        for row, (prompt, place) in enumerate(zip(prompts, places.tolist(), strict=True))
    )


def position_schemes(count: int = len(POSITION_SCHEMES)) -> tuple[Scheme, ...]:
    """The first of the paper's eight position schemes; `sft` is the donor."""
    return _schemes(POSITION_SCHEMES[:count])


def last_token_schemes(count: int) -> tuple[Scheme, ...]:
    """PRE, and schemes that graft one, two, three ... of GPT-2's components at LT; at most 128."""
    names = ("attn_norm", "q", "k", "v", "o", "mlp_norm", "up")
    chosen = [parts for size in range(len(names) + 1) for parts in combinations(names, size)]
    return _schemes("+".join(parts) + "@LT" if parts else "PRE" for parts in chosen[:count])


def token_prompts(n_prompts: int, vocab_size: int, seed: int = 0) -> tuple[Prompt, ...]:
    """Random prompts that have every token as a position set: T0, T1, ..."""
    return tuple(
        replace(prompt, positions={f"T{token}": (token,) for token in range(len(prompt.tokens))})
        for prompt in random_prompts(n_prompts, vocab_size, seed=seed)
    )


def cell_schemes(n_layers: int, n_tokens: int = PROMPT_TOKENS) -> tuple[Scheme, ...]:
    """A map of single cells: every layer at every token, one a scheme."""
    return _schemes(f"T{token}[{layer}]" for layer in range(n_layers) for token in range(n_tokens))


def grid_schemes() -> tuple[Scheme, ...]:
    """PRE, SFT, and the grid of params.yaml's experiment `components` (E3): components at LT, in parts of the layers."""
    grid = (f"{names}@LT{layers}" for names in GRID_COMPONENTS for layers in GRID_LAYERS)
    return _schemes(("PRE", "SFT", *grid))


def head_schemes(n_layers: int, n_heads: int) -> tuple[Scheme, ...]:
    """PRE, SFT, and every head of o at LT."""
    heads = (f"o{{{head}}}@LT[{layer}]" for layer in range(n_layers) for head in range(n_heads))
    return _schemes(("PRE", "SFT", *heads))


def _schemes(texts: Iterable[str]) -> tuple[Scheme, ...]:
    return tuple(parse_scheme(text, donor="sft") for text in texts)
