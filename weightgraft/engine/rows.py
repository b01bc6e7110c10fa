"""Rows that all models have: where one has added tokens, the embeddings and the unembedding of each are cut to them.

A row is a token id. The cut modules share their tensors with the models: views, no copies. What the softmax runs over is
then the rows that all have, which is what a plain forward pass gives whose logits are cut to them.
"""

import copy
from collections.abc import Iterable, Mapping

from torch import nn
from transformers import PreTrainedModel

from weightgraft.notes import note

from .families import family_of
from .leaves import LowRank


def table_paths(model: PreTrainedModel) -> tuple[str, str]:
    """Where the two modules are that have a row for every token: embedding and unembedding."""
    family = family_of(model.config.model_type)
    return family.embed[0].path, family.unembed.path


def shared_rows(models: Iterable[PreTrainedModel]) -> int:
    """How many rows every model has, in its embedding and its unembedding. ValueError where one of them is no table."""
    return min(_rows(model.get_submodule(path)) for model in models for path in table_paths(model))


def _rows(table: nn.Module) -> int:
    weight = getattr(table, "weight", None)
    if not isinstance(weight, nn.Parameter):
        raise ValueError(
            f"recipient: a {type(table).__name__} in the place of an embedding or unembedding, which has a row for every token; "
            "save its weights in a model of transformers' own"
        )
    return weight.shape[0]


def cut_to(table: nn.Module | LowRank | None, rows: int) -> nn.Module | LowRank | None:
    """A module with the first rows of an embedding or unembedding, or an update of these; itself if it has no more."""
    if isinstance(table, LowRank):
        return LowRank(table.a, table.b[:rows])
    if table is None or _rows(table) == rows:
        return table
    cut = copy.copy(table)
    # Its own dictionary, so that the model keeps its parameters.
    cut._parameters = {
        name: None if parameter is None else nn.Parameter(parameter.detach()[:rows], requires_grad=False)
        for name, parameter in table._parameters.items()
    }
    if isinstance(cut, nn.Embedding):
        cut.num_embeddings, cut.padding_idx = rows, None  # a padding row only gets no gradient
    elif isinstance(cut, nn.Linear):
        cut.out_features = rows
    return cut


def tell_rows(rows: int, models: Mapping[str, PreTrainedModel]) -> None:
    """A note where the models have different numbers of tokens."""
    counts = {name: shared_rows([model]) for name, model in models.items()}
    if more := [f"{name} {count}" for name, count in counts.items() if count > rows]:
        note(
            f"rows of embedding and unembedding: {', '.join(more)}; all models have the first {rows}, and the softmax runs over "
            "these"
        )
