"""Does a tokenizer cut a text the same way each time? For training some leave merges out, or draw among ways to cut."""

from typing import Any

from transformers import PreTrainedTokenizerBase


def check_steady(tokenizer: PreTrainedTokenizerBase, owner: str = "") -> None:
    """Raises ValueError for a tokenizer that draws how it cuts a text: every number would be another one each time.

    owner: whose it is, with a colon; the line begins with it.
    """
    if drawing := _drawing(tokenizer):
        raise ValueError(
            f"{owner}the tokenizer cuts a text at random ({drawing}), which is for training alone; take that entry out"
        )


def _drawing(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The entry by which a tokenizer draws, with its value; None where it does not."""
    if not tokenizer.is_fast:
        options = getattr(tokenizer, "sp_model_kwargs", None) or {}
        drawn = options.get("enable_sampling")
        return "tokenizer_config.json: sp_model_kwargs.enable_sampling" if drawn else None
    model: Any = tokenizer.backend_tokenizer.model
    if dropout := getattr(model, "dropout", None):  # BPE's: the share of merges that it leaves out
        return f"tokenizer.json: model.dropout {dropout:.3g}"
    if (alpha := getattr(model, "alpha", None)) and model.nbest_size != 1:  # Unigram's
        return f"tokenizer.json: model.alpha {alpha:.3g}"
    return None
