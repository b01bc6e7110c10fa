"""Tokenizers: train a small one on the world's text."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from weightgraft.errors import UserError

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


def first_target_token(tokenizer: PreTrainedTokenizerBase, text: str, target: str) -> tuple[list[int], int]:
    """A prompt's tokens and the token that its target begins with, tokenized together.

    Raises:
        UserError: the prompt's tokens are not the same with the target behind it.
    """
    tokens, together = tokenizer(text)["input_ids"], tokenizer(text + target)["input_ids"]
    if together[: len(tokens)] != tokens or len(together) == len(tokens):
        raise UserError(f"no stable boundary between {text!r} and {target!r}")
    return tokens, together[len(tokens)]
