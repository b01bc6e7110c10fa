"""Tokenizers: train a small one on the world's text, and bring prompts with character spans to tokens."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from stages.params import UserError

BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, bos: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer like GPT-2's, trained on the texts; with `bos`, every text begins with <bos> (Llama, Gemma)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt in tokens: `positions` maps a position set to its token indices; LT is the last token."""

    tokens: tuple[int, ...]
    positions: dict[str, tuple[int, ...]]
    target: tuple[int, ...]


def tokens_of_spans(
    offsets: Sequence[tuple[int, int]], spans: Sequence[Sequence[int]], text: str
) -> tuple[int, ...]:
    """Indices of the tokens that make up the character spans.

    A token may reach past a span over white space only: byte-level tokens carry the space before a word.

    Raises:
        ValueError: a token also covers other characters than the span's, or a span has no token.
    """
    found: list[int] = []
    for start, end in spans:
        inside = [
            i for i, (left, right) in enumerate(offsets) if left < end and right > start and left < right
        ]
        if not inside:
            raise ValueError(f"no token covers {text[start:end]!r}")
        for i in inside:
            left, right = offsets[i]
            if text[left : min(start, right)].strip() or text[max(end, left) : right].strip():
                raise ValueError(f"token {text[left:right]!r} reaches beyond {text[start:end]!r}")
        found += inside
    return tuple(sorted(set(found)))


def tokenize_prompt(tokenizer: PreTrainedTokenizerBase, row: Mapping) -> TokenizedPrompt:
    """Bring a prompt row (text, target, spans) to tokens.

    The target's tokens come from tokenizing prompt and target together.

    Raises:
        UserError: the boundary between prompt and target is not stable, or a span does not align with tokens; names the fact.
    """
    where = f"fact {row['fact_id']}, prompt {row['template']!r}"
    encoded = tokenizer(row["text"], return_offsets_mapping=True)
    tokens = encoded["input_ids"]
    together = tokenizer(row["text"] + row["target"])["input_ids"]
    if together[: len(tokens)] != tokens or len(together) == len(tokens):
        raise UserError(
            f"{where}: no stable boundary before the target: {tokenizer.convert_ids_to_tokens(tokens)} "
            f"against {tokenizer.convert_ids_to_tokens(together)}"
        )
    try:
        positions = {
            name: tokens_of_spans(encoded["offset_mapping"], spans, row["text"])
            for name, spans in row["spans"].items()
        }
    except ValueError as error:
        raise UserError(f"{where}: {error} in {row['text']!r}") from error
    positions["LT"] = (len(tokens) - 1,)
    return TokenizedPrompt(tuple(tokens), positions, tuple(together[len(tokens) :]))
