"""Which models may be grafted onto each other: those that differ in nothing but their weights."""

import json
from collections.abc import Collection, Iterator, Mapping
from itertools import zip_longest

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .schemes import RECIPIENT

# Config entries that do not enter a forward pass without dropout.
INERT = frozenset({
    "_name_or_path", "architectures", "attn_implementation", "bos_token_id", "chunk_size_feed_forward", "dtype",
    "eos_token_id", "id2label", "initializer_range", "label2id", "output_attentions", "output_hidden_states",
    "pad_token_id", "problem_type", "return_dict", "task_specific_params", "tie_word_embeddings", "transformers_version",
    "use_cache",
})  # fmt: skip


def check_donor(name: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """Raises ValueError that names the first difference between a dense donor and the recipient.

    Compared: class, config (but for entries that change no forward pass), names, shapes, types and device of
    all parameters. Tied and untied models may be mixed: embed and unembed are separate components.
    """
    check_make(name, donor, recipient)
    _refuse_first(name, _parameter_pairs(donor, recipient))


def check_make(name: str, donor: PreTrainedModel, recipient: PreTrainedModel) -> None:
    """Raises ValueError that names the first difference in class or config: all that can be said of a LoRA donor's
    base before its weights are compared."""
    _refuse_first(name, _make_pairs(donor, recipient))


Pairs = Iterator[tuple[str, object, object]]  # what, the donor's, the recipient's


def _refuse_first(name: str, pairs: Pairs) -> None:
    for what, theirs, ours in pairs:
        if theirs != ours:
            raise ValueError(
                f"donor {name!r} differs from the recipient in {what}: {theirs}, recipient {ours}"
            )


def _make_pairs(donor: PreTrainedModel, recipient: PreTrainedModel) -> Pairs:
    yield "architecture", type(donor).__name__, type(recipient).__name__
    theirs, ours = donor.config.to_dict(), recipient.config.to_dict()
    for key in sorted((theirs.keys() | ours.keys()) - INERT):
        if "dropout" not in key and "pdrop" not in key:
            yield f"config.{key}", theirs.get(key), ours.get(key)


def _parameter_pairs(donor: PreTrainedModel, recipient: PreTrainedModel) -> Pairs:
    parameters = dict(recipient.named_parameters(remove_duplicate=False))
    others = dict(donor.named_parameters(remove_duplicate=False))
    yield "parameters", sorted(others.keys() - parameters.keys()), sorted(parameters.keys() - others.keys())
    for key, parameter in parameters.items():
        yield f"the shape of {key}", tuple(others[key].shape), tuple(parameter.shape)
        yield f"the type of {key}", others[key].dtype, parameter.dtype
        yield f"the device of {key}", others[key].device, parameter.device


def check_tokenizers(tokenizers: Mapping[str, PreTrainedTokenizerBase], donors: Collection[str]) -> None:
    """Raises ValueError that names the first difference between a donor's tokenizer and the recipient's: in the
    vocabulary, in how a text is cut, or in the rules by which it is cut."""
    if RECIPIENT not in tokenizers:
        raise ValueError(f"tokenizers: the one of {RECIPIENT!r} is missing; given: {', '.join(tokenizers)}")
    for name in tokenizers:
        if name != RECIPIENT and name not in donors:
            raise ValueError(f"tokenizers: {name!r} is no donor; donors: {', '.join(donors)}")
    ours = tokenizers[RECIPIENT]
    our_ids = ours.get_vocab()
    for name, theirs in tokenizers.items():
        their_ids = theirs.get_vocab()
        for token in sorted(their_ids.keys() | our_ids.keys(), key=lambda token: our_ids.get(token, -1)):
            if their_ids.get(token) != our_ids.get(token):
                raise ValueError(
                    f"tokenizer of {name!r} differs from the recipient's in token {token!r}: "
                    f"id {their_ids.get(token)}, recipient {our_ids.get(token)}"
                )
        for what, left, right in _tokenizer_pairs(theirs, ours):
            if left != right:
                raise ValueError(
                    f"tokenizer of {name!r} differs from the recipient's in {what}: {left!r}, recipient {right!r}"
                )


def _tokenizer_pairs(theirs: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase) -> Pairs:
    text = "Ab cd-ef 12,345.\n  é"
    yield f"the tokens of {text!r}", theirs(text)["input_ids"], ours(text)["input_ids"]
    if theirs.is_fast and ours.is_fast:
        left, right = (tokenizer.backend_tokenizer for tokenizer in (theirs, ours))
        for part in ("normalizer", "pre_tokenizer", "post_processor"):
            yield f"its {part}", str(getattr(left, part)), str(getattr(right, part))
        models = [json.loads(backend.to_str())["model"] for backend in (left, right)]
        merges = (model.pop("merges", None) or [] for model in models)
        for number, (merge, other) in enumerate(zip_longest(*merges)):
            yield f"merge {number}", merge, other
        for key in sorted({*models[0], *models[1]} - {"vocab"}):
            yield f"its model's {key}", models[0].get(key), models[1].get(key)
