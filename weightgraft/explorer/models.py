"""The models that the explorer was started with, and what has been asked of them: nothing is computed twice.

Everything here runs in one thread, the server's worker: one call at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from weightgraft import GraftedModel, Prompt, Scheme, encode_prompt, parse_scheme
from weightgraft.engine.chat import render_turn
from weightgraft.engine.encoding import token_ids
from weightgraft.engine.portions import portions, together
from weightgraft.engine.schemes import RECIPIENT
from weightgraft.engine.scores import Scores
from weightgraft.errors import UserError
from weightgraft.explorer.questions import Texts
from weightgraft.inspection.measure import CellMap, map_question, map_values, running, score_schemes
from weightgraft.inspection.question import Spans, spans_in_turn, token_sets
from weightgraft.inspection.tokens import token_text
from weightgraft.loading import models, tokenizers
from weightgraft.notes import gathered, note

TOP = 5
MOST_TOKENS = 128  # of a prompt: more columns than anyone looks at
CELLS_AT_ONCE = 40  # of a map: between two portions others get their answers
KEPT_PROMPTS, KEPT_SCHEMES, KEPT_MAPS = 256, 8192, 32
Top = list[tuple[int, float]]


@dataclass(frozen=True)
class Encoded:
    """text: what the models read. prompt: with T0, T1, ... and LT as position sets. shift: characters in front of what was typed.
    target: as text; where none was given, SFT's most likely token. typed: the target as encode_prompt takes it: that token's id
    where its text, typed, would be cut otherwise. notes: what is odd but allowed."""

    text: str
    prompt: Prompt
    shift: int
    target: str
    typed: str | tuple[int, ...]
    notes: tuple[str, ...]


class Models:
    """The grafted models with their tokenizers. Folders, dtype and device are told to whoever reproduces a number."""

    def __init__(self, recipient: Path, donors: Mapping[str, Path], dtype: str, device: torch.device):
        self.recipient, self.donors = recipient, dict(donors)
        self.dtype, self.device = dtype, device
        self.tokenizers = tokenizers.load_tokenizers(recipient, donors)
        self.tokenizer = self.tokenizers[RECIPIENT]
        bare = Prompt(tokens=[0], target=[0])
        models.rehearse(recipient, donors, bare, [Scheme("PRE")])
        self.grafted: GraftedModel = models.load_grafted(recipient, donors, getattr(torch, dtype), device)
        self.words = partial(token_text, self.tokenizer)
        # Errors are not kept: whoever asks again is told again.
        self.encoded = lru_cache(KEPT_PROMPTS)(self._encoded)
        self.scored = lru_cache(KEPT_SCHEMES)(self._scored)
        self._maps: dict[tuple[Texts, str], Scores] = {}

    @property
    def chat(self) -> bool:
        """Whether prompts can be a user's turns."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def prompt_with(self, texts: Texts, spans: Spans) -> Prompt:
        """The prompt with the named position sets beside T0, T1, ... and LT.

        Raises:
            UserError: a span begins or ends inside a token.
        """
        known = self.encoded(texts)
        placed = spans_in_turn(spans, texts.prompt, known.text, known.shift)
        with models.one_line_errors(), gathered():
            prompt = encode_prompt(
                self.tokenizer, known.text, known.typed, placed, add_special_tokens=not texts.chat
            )
        return replace(known.prompt, positions={**prompt.positions, **known.prompt.positions})

    def _encoded(self, texts: Texts) -> Encoded:
        text, shift, special = texts.prompt, 0, not texts.chat
        with gathered() as notes, running():
            if texts.chat:
                text, shift = render_turn(self.tokenizer, texts.prompt)
            tokens = token_ids(self.tokenizer, text, special)
            if len(tokens) > MOST_TOKENS:
                raise UserError(
                    f"the prompt has {len(tokens)} tokens; the explorer takes {MOST_TOKENS} (the engine itself, in Python, takes "
                    f"{self.grafted.longest_prompt})"
                )
            target, typed = (
                self._guess(text, tokens, special) if texts.target is None else (texts.target, texts.target)
            )
            prompt = encode_prompt(self.tokenizer, text, typed, {}, texts.foil, add_special_tokens=special)
            continued = [text + end for end in (typed, texts.foil) if isinstance(end, str)]
        tokenizers.check_asked(self.tokenizers, [text, *continued], special=special)
        positions = {**prompt.positions, **token_sets(len(prompt.tokens))}
        return Encoded(text, replace(prompt, positions=positions), shift, target, typed, tuple(notes))

    def _guess(self, text: str, tokens: Sequence[int], special: bool) -> tuple[str, str | tuple[int, ...]]:
        """SFT's most likely next token: (its text, what encode_prompt takes as the target). That is its text, unless that would be
        cut otherwise: it is a part of a character, or goes on in the prompt's last word."""
        bare = Prompt(tokens=tokens)
        everything = parse_scheme("SFT", donor=next(iter(self.donors)))
        self.grafted.plan([bare], [everything], score_target=False)
        (best,) = self.grafted.logits([bare], [everything])[0].argmax(dim=-1).tolist()
        target = self.words(best)
        with suppress(ValueError), gathered():
            prompt = encode_prompt(self.tokenizer, text, target, {}, add_special_tokens=special)
            if prompt.target == (best,):
                return target, target
        note(
            f"SFT's first guess is the token {target!r} ({best}) itself; that text, typed as a target, would be cut otherwise"
        )
        return target, (best,)

    def _scored(self, texts: Texts, pure: str) -> tuple[Scores, Top]:
        """(scores, most likely next tokens) of one scheme whose notation names no position sets but T0, T1, ..."""
        scheme = parse_scheme(pure, donor=next(iter(self.donors)))
        hint = "" if self.dtype == "float32" else "; start the explorer with --dtype float32"
        with running(hint):
            scores, top = score_schemes(self.grafted, self.encoded(texts).prompt, [scheme], TOP)
        return scores, top[0]

    def references(self, texts: Texts) -> tuple[float, float]:
        """The target's log-probability under PRE and under SFT.

        Raises:
            UserError: PRE's is not finite.
        """
        pre, sft = (self.scored(texts, name)[0].joint_logprob[0, 0].item() for name in ("PRE", "SFT"))
        if pre != pre:
            raise UserError("under PRE the target's log-probability is not finite: nothing can be compared")
        return pre, sft

    def map_portions(self, texts: Texts, donor: str) -> Iterator[tuple[int, Tensor, int]]:
        """The map of single cells, some at a time: (number of the first value, log-probabilities, values in all), in the order of
        map_question from its end: whole rows and whole tokens come first, and the costly cells of the first layers last."""
        asked, schemes = map_question(self.grafted, self.encoded(texts).prompt, donor)
        if (texts, donor) in self._maps:
            yield 0, self._maps[texts, donor].joint_logprob[0], len(schemes)
            return
        found: list[Scores] = []
        for end in range(len(schemes), 0, -CELLS_AT_ONCE):
            start, parts = max(0, end - CELLS_AT_ONCE), []
            for some in portions(self.grafted, schemes[start:end], asked):
                parts.append(self.grafted.score([asked], some, allow_nan=True))
                yield (
                    start + sum(part.joint_logprob.shape[1] for part in parts[:-1]),
                    parts[-1].joint_logprob[0],
                    len(schemes),
                )
            found = [*parts, *found]
        while len(self._maps) >= KEPT_MAPS:
            self._maps.pop(next(iter(self._maps)))
        self._maps[texts, donor] = together(found)

    def cell_map(self, texts: Texts, donor: str) -> CellMap:
        """The whole map, computed where it has not been."""
        for _ in self.map_portions(texts, donor):
            pass
        values = self._maps[texts, donor].joint_logprob[0]
        return map_values(self.grafted, self.encoded(texts).prompt, values)

    def has_map(self, texts: Texts, donor: str) -> bool:
        return (texts, donor) in self._maps
