"""A model's structure over the same tensors."""

import copy

from torch import nn
from transformers import PreTrainedModel


def shallow_clone(model: PreTrainedModel) -> PreTrainedModel:
    """A model with modules, config and buffers of its own that shares all parameters with `model`.

    Replacing its modules or parameters, changing its config or its requires_grad flags leaves `model` as it is;
    writing into its parameters would not. Buffers are small, and a forward pass may write into them (the
    frequencies of rotary embeddings that grow with the prompt).
    """
    shared: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in model.parameters()
    }
    shared |= {id(buffer): buffer.clone() for buffer in model.buffers()}
    return copy.deepcopy(model, shared)
