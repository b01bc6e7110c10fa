"""One row per decoder family: where each component lives in transformers' own model. Data only.

To add a family, add a row: its `config.model_type` as the key, and for each weight-bearing module of a decoder
layer its path, the components it holds, and how it is laid out. Heads, sizes, tied weights, sliding windows, soft-capping
and scales of the logits are read from the model's config. Arcee, say, is Llama with another FFN; its row would be

    "arcee": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, _one("mlp.up_proj", "up"), _DOWN),

and a tiny config of it in tests/tiny_models.py puts it under every test. A forgotten weight is an error when a model is
wrapped; what no row can say (attention sinks, say) fails the comparison with the token-by-token procedure.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Leaf:
    """A weight-bearing module.

    path: module path below the decoder layer (or below the model, outside the layers).
    components: the components it computes, in the order of its output columns; more than one if fused.
    interleaved: the output columns go head by head, q, k, v within each head (GPT-NeoX), not block by block.
    token_dim: the dimension of its input that counts tokens (with batch as 0).
    """

    path: str
    components: tuple[str, ...]
    interleaved: bool = False
    token_dim: int = 1


@dataclass(frozen=True)
class Family:
    """A decoder family. Paths are below the ForCausalLM model; `layer` paths below one decoder layer.

    backbone: the model without its unembedding. Norms inside a block belong to the block's norm
    component: attn_norm is every norm before or after attention, mlp_norm every norm before or after the
    FFN; q_norm and k_norm belong to q and k.
    """

    backbone: str
    layers: str
    embed: tuple[Leaf, ...]
    layer: tuple[Leaf, ...]
    final_norm: Leaf
    unembed: Leaf

    @property
    def components(self) -> tuple[str, ...]:
        """The components this family has, each once, in the order of computation."""
        leaves = (*self.embed, *self.layer, self.final_norm, self.unembed)
        return tuple(dict.fromkeys(name for leaf in leaves for name in leaf.components))


def _one(path: str, component: str, token_dim: int = 1) -> Leaf:
    return Leaf(path, (component,), token_dim=token_dim)


_UNEMBED = _one("lm_head", "unembed")
_O = _one("self_attn.o_proj", "o")
_DOWN = _one("mlp.down_proj", "down")
_Q_K_V = tuple(_one(f"self_attn.{name}_proj", name) for name in "qkv")
_FFN = (_one("mlp.gate_proj", "gate"), _one("mlp.up_proj", "up"), _DOWN)
_PRE_NORMS = (_one("input_layernorm", "attn_norm"), _one("post_attention_layernorm", "mlp_norm"))
_SANDWICH_NORMS = (
    _one("input_layernorm", "attn_norm"),
    _one("post_attention_layernorm", "attn_norm"),
    _one("pre_feedforward_layernorm", "mlp_norm"),
    _one("post_feedforward_layernorm", "mlp_norm"),
)
_POST_NORMS = (_one("post_attention_layernorm", "attn_norm"), _one("post_feedforward_layernorm", "mlp_norm"))


def _qk_norms(token_dim: int) -> tuple[Leaf, ...]:
    return _one("self_attn.q_norm", "q", token_dim), _one("self_attn.k_norm", "k", token_dim)


_FUSED_FFN = (Leaf("mlp.gate_up_proj", ("gate", "up")), _DOWN)


def _llama_like(*layer: Leaf, final_norm: str = "model.norm") -> Family:
    return Family(
        backbone="model",
        layers="model.layers",
        embed=(_one("model.embed_tokens", "embed"),),
        layer=layer,
        final_norm=_one(final_norm, "final_norm"),
        unembed=_UNEMBED,
    )


FAMILIES = {
    "gpt2": Family(
        backbone="transformer",
        layers="transformer.h",
        embed=(_one("transformer.wte", "embed"), _one("transformer.wpe", "embed")),
        layer=(
            _one("ln_1", "attn_norm"),
            Leaf("attn.c_attn", ("q", "k", "v")),
            _one("attn.c_proj", "o"),
            _one("ln_2", "mlp_norm"),
            _one("mlp.c_fc", "up"),
            _one("mlp.c_proj", "down"),
        ),
        final_norm=_one("transformer.ln_f", "final_norm"),
        unembed=_UNEMBED,
    ),
    "gpt_neox": Family(
        backbone="gpt_neox",
        layers="gpt_neox.layers",
        embed=(_one("gpt_neox.embed_in", "embed"),),
        layer=(
            _one("input_layernorm", "attn_norm"),
            Leaf("attention.query_key_value", ("q", "k", "v"), interleaved=True),
            _one("attention.dense", "o"),
            _one("post_attention_layernorm", "mlp_norm"),
            _one("mlp.dense_h_to_4h", "up"),
            _one("mlp.dense_4h_to_h", "down"),
        ),
        final_norm=_one("gpt_neox.final_layer_norm", "final_norm"),
        unembed=_UNEMBED,
    ),
    "llama": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, *_FFN),
    "mistral": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, *_FFN),
    "qwen2": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, *_FFN),
    "qwen3": _llama_like(*_PRE_NORMS, *_Q_K_V, *_qk_norms(token_dim=1), _O, *_FFN),
    "stablelm": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, *_FFN),
    "gemma": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, *_FFN),
    "gemma2": _llama_like(*_SANDWICH_NORMS, *_Q_K_V, _O, *_FFN),
    "gemma3_text": _llama_like(*_SANDWICH_NORMS, *_Q_K_V, *_qk_norms(token_dim=2), _O, *_FFN),
    "olmo2": _llama_like(*_POST_NORMS, *_Q_K_V, *_qk_norms(token_dim=1), _O, *_FFN),
    "olmo3": _llama_like(*_POST_NORMS, *_Q_K_V, *_qk_norms(token_dim=1), _O, *_FFN),
    "phi": _llama_like(
        _one("input_layernorm", "attn_norm"),  # the FFN reads it as well: they run side by side
        *_Q_K_V,
        _one("self_attn.dense", "o"),
        _one("mlp.fc1", "up"),
        _one("mlp.fc2", "down"),
        final_norm="model.final_layernorm",
    ),
    "phi3": _llama_like(*_PRE_NORMS, Leaf("self_attn.qkv_proj", ("q", "k", "v")), _O, *_FUSED_FFN),
    "starcoder2": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, _one("mlp.c_fc", "up"), _one("mlp.c_proj", "down")),
    "granite": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, *_FFN),
    "smollm3": _llama_like(*_PRE_NORMS, *_Q_K_V, _O, *_FFN),
    "glm4": _llama_like(
        _one("input_layernorm", "attn_norm"),
        _one("post_self_attn_layernorm", "attn_norm"),
        _one("post_attention_layernorm", "mlp_norm"),
        _one("post_mlp_layernorm", "mlp_norm"),
        *_Q_K_V,
        _O,
        *_FUSED_FFN,
    ),
    "cohere2": _llama_like(
        _one("input_layernorm", "attn_norm"), *_Q_K_V, _O, *_FFN
    ),  # side by side, as in Phi
}


def family_of(model_type: str) -> Family:
    """The row of a `config.model_type`; ValueError that lists the known ones for another."""
    if model_type not in FAMILIES:
        raise ValueError(
            f"no family for model_type {model_type!r}; known: {', '.join(FAMILIES)}. To add one, add a row to "
            "FAMILIES in weightgraft/engine/families.py: the path of each weight-bearing module and its components"
        )
    return FAMILIES[model_type]
