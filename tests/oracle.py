"""The slow, literal reference: for every token, put the weights in place, then run that one token with the cache.

It shares no code with the engine. It reads grafts in its own naive way, sorts a model's parameters into components
by their names, and copies the owner's numbers into one scratch model before each token.
"""

import copy
import re
import sys
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache, PreTrainedModel

from weightgraft import Graft, Prompt, Scheme

GROUPS = {
    "all": {
        "embed",
        "attn_norm",
        "q",
        "k",
        "v",
        "o",
        "mlp_norm",
        "gate",
        "up",
        "down",
        "final_norm",
        "unembed",
    },
    "attn": {"q", "k", "v"},
    "ffn": {"gate", "up", "down"},
    "norm": {"attn_norm", "mlp_norm", "final_norm"},
}
OUTSIDE_LAYERS = {"embed", "final_norm", "unembed"}
MODULE_COMPONENT = {
    "wte": "embed", "wpe": "embed", "embed_in": "embed", "embed_tokens": "embed",
    "ln_f": "final_norm", "final_layer_norm": "final_norm", "norm": "final_norm", "final_layernorm": "final_norm",
    "lm_head": "unembed",
    "ln_1": "attn_norm", "input_layernorm": "attn_norm", "post_self_attn_layernorm": "attn_norm",
    "ln_2": "mlp_norm", "pre_feedforward_layernorm": "mlp_norm", "post_feedforward_layernorm": "mlp_norm",
    "post_mlp_layernorm": "mlp_norm",
    "q_proj": "q", "q_norm": "q", "k_proj": "k", "k_norm": "k", "v_proj": "v",
    "attn.c_proj": "o", "o_proj": "o", "attention.dense": "o", "self_attn.dense": "o", "fc1": "up", "fc2": "down",
    "gate_proj": "gate", "mlp.c_fc": "up", "dense_h_to_4h": "up", "up_proj": "up",
    "mlp.c_proj": "down", "dense_4h_to_h": "down", "down_proj": "down",
}  # fmt: skip
SANDWICHED = {
    "gemma2",
    "gemma3_text",
    "olmo2",
    "olmo3",
}  # here post_attention_layernorm closes the attention block


class Tokens(frozenset):
    """A set of token numbers that knows its complement, so that Python can read position expressions."""

    everything: frozenset = frozenset()

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self | other)

    @property
    def complement(self) -> "Tokens":
        return Tokens(Tokens.everything - self)


def tokens_of(expression: str, prompt: Prompt) -> frozenset:
    Tokens.everything = frozenset(range(len(prompt.tokens)))
    names = {name: Tokens(members) for name, members in prompt.positions.items()}
    names["all"] = Tokens(Tokens.everything)
    return eval(expression.replace("^C", ".complement"), {"__builtins__": {}}, names)


def layers_of(text: str, n_layers: int) -> set[int]:
    if text == "all":
        return set(range(n_layers))
    words = re.fullmatch(r"(\w+)_(half|quarter|eighth)", text)
    if words:
        parts = {"half": 2, "quarter": 4, "eighth": 8}[words[2]]
        ordinals = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"][:parts]
        part = parts - 1 if words[1] == "last" else ordinals.index(words[1])
        return {
            layer
            for layer in range(n_layers)
            if part <= (layer + 0.999999) * parts / n_layers - 1e-9 < part + 1
        }
    if "/" in text:
        part, parts = (int(number) for number in text.split("/"))
        return set(range((part - 1) * n_layers // parts, part * n_layers // parts))
    chosen: set[int] = set()
    for item in text.split(","):
        first, _, last = item.partition("-")
        chosen |= set(range(int(first), int(last or first) + 1))
    return chosen


def pieces_of(name: str, parameter: Tensor, config) -> Iterator[tuple[str, int, int | None, tuple]]:
    """(component, layer, head, index) for every piece of a parameter; the pieces cover it once."""
    layer = int(match[1]) if (match := re.search(r"\.(?:h|layers)\.(\d+)\.", name)) else -1
    n_heads = config.num_attention_heads
    n_kv = getattr(config, "num_key_value_heads", None) or n_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    everything = (slice(None),)
    module = name.rsplit(".", 1)[0]
    last = module.rsplit(".", 1)[-1]
    if last in ("c_attn", "qkv_proj"):
        start = 0
        for component, count in (("q", n_heads), ("k", n_kv), ("v", n_kv)):
            for head in range(count):
                columns = slice(start, start + width)
                yield (
                    component,
                    layer,
                    head,
                    (slice(None), columns) if last == "c_attn" and parameter.dim() == 2 else (columns,),
                )
                start += width
    elif last == "query_key_value":
        for head in range(n_heads):
            for place, component in enumerate("qkv"):
                start = (3 * head + place) * width
                yield component, layer, head, (slice(start, start + width),)
    elif last == "gate_up_proj":
        half = parameter.shape[0] // 2
        yield "gate", layer, None, (slice(0, half),)
        yield "up", layer, None, (slice(half, None),)
    elif last == "post_attention_layernorm":
        yield ("attn_norm" if config.model_type in SANDWICHED else "mlp_norm"), layer, None, everything
    else:
        component = MODULE_COMPONENT.get(last) or MODULE_COMPONENT[".".join(module.rsplit(".", 2)[-2:])]
        if component in ("q", "k", "v"):
            count = n_heads if component == "q" else n_kv
            rows = parameter.shape[0] // count
            for head in range(count):
                yield component, layer, head, (slice(head * rows, (head + 1) * rows),)
        elif component == "o" and parameter.dim() == 2:
            for head in range(n_heads):
                inputs = slice(head * width, (head + 1) * width)
                yield component, layer, head, (inputs,) if last == "c_proj" else (slice(None), inputs)
        else:
            yield component, layer, None, everything


HIDDEN: dict[int, set[int]] = {}  # of the token that runs: for each layer, the tokens that it does not see
PLACE = [0]  # of the token that runs


def attention_with_cuts(module, query, key, value, attention_mask, **named):
    """The model's own eager attention of one token to all that its cache holds, the hidden ones at -inf."""
    first = PLACE[0] + 1 - key.shape[2]  # a sliding window's cache holds the last tokens only
    mask = torch.zeros(1, 1, 1, key.shape[2])
    for hidden in HIDDEN[module.layer_idx]:
        if hidden >= first:
            mask[..., hidden - first] = -torch.inf
    named.setdefault("scaling", query.shape[-1] ** -0.5)
    return sys.modules[type(module).__module__].eager_attention_forward(
        module, query, key, value, mask, **named
    )


AttentionInterface.register("oracle", attention_with_cuts)


class Oracle:
    """models: recipient and donors by name. All of them dense."""

    def __init__(self, recipient: PreTrainedModel, donors: Mapping[str, PreTrainedModel]):
        self.config = recipient.config
        untied = copy.deepcopy(recipient.config)
        untied.tie_word_embeddings = False
        self.sources = {
            name: _parameters(model) for name, model in {"recipient": recipient, **donors}.items()
        }
        self.scratch = type(recipient)(untied).eval()
        for module_name, module in self.scratch.named_modules():
            weight = self.sources["recipient"].get(module_name + ".weight")
            if module_name.endswith(("q_norm", "k_norm")) and weight is not None:
                module.weight = nn.Parameter(torch.zeros(weight.shape))
        self.targets = dict(self.scratch.named_parameters(remove_duplicate=False))
        self.pieces = [
            (name, *piece)
            for name, target in self.targets.items()
            for piece in pieces_of(name, target, self.config)
        ]
        self.in_place: list[Graft] | None = None
        self.stock = self.scratch.config._attn_implementation
        self.n_layers = self.config.num_hidden_layers
        self.group = self.config.num_attention_heads // (
            getattr(self.config, "num_key_value_heads", None) or self.config.num_attention_heads
        )

    def logits(self, prompt: Prompt, scheme: Scheme, decode_route: str = "last") -> Tensor:
        """(step, vocab): the logits that predict each target token, the target so far being fed back."""
        cache, rows = DynamicCache(config=self.scratch.config), []
        last = len(prompt.tokens) - 1
        for place, token in enumerate((*prompt.tokens, *prompt.target[:-1])):
            own = scheme
            if place > last and decode_route != "last":
                own = Scheme("x", (Graft(positions="all", donor=decode_route),))
            self._put_weights(prompt, own, min(place, last))
            self._cut_attention(prompt, own, min(place, last), place)
            with torch.no_grad():
                output = self.scratch(
                    input_ids=torch.tensor([[token]]),
                    position_ids=torch.tensor([[place]]),
                    past_key_values=cache,
                    use_cache=True,
                )
            if place >= last:
                rows.append(output.logits[0, -1])
        return torch.stack(rows)

    def _cut_attention(self, prompt: Prompt, scheme: Scheme, asked_as: int, place: int) -> None:
        """Have the scratch model attend with -inf at what this token does not see, layer by layer."""
        HIDDEN.clear()
        for layer in range(self.n_layers):
            HIDDEN[layer] = {
                key
                for cut in scheme.cuts
                if layer in layers_of(str(cut.layers), self.n_layers)
                and asked_as in tokens_of(cut.queries, prompt)
                for key in tokens_of(cut.keys, prompt)
                if key < asked_as
            }
        PLACE[0] = place
        self.scratch.config._attn_implementation = "oracle" if scheme.cuts else self.stock

    @torch.no_grad()
    def _put_weights(self, prompt: Prompt, scheme: Scheme, place: int) -> None:
        grafts = [graft for graft in scheme.grafts if place in tokens_of(graft.positions, prompt)]
        if grafts == self.in_place:  # what the token before it had
            return
        self.in_place = grafts
        for name, component, layer, head, index in self.pieces:
            owner = "recipient"
            for graft in grafts:
                if self._takes(graft, component, layer, head):
                    owner = graft.donor
            self.targets[name][index] = self.sources[owner][name][index]

    def _takes(self, graft: Graft, component: str, layer: int, head: int | None) -> bool:
        names: set[str] = set()
        for word in str(graft.components).lower().removeprefix("ffn-").replace("+ffn-", "+").split("+"):
            names |= GROUPS.get(word, {word})
        if component not in names:
            return False
        if component in OUTSIDE_LAYERS:
            return graft.layers == "all"
        if layer not in layers_of(str(graft.layers), self.n_layers):
            return False
        if graft.heads is None:
            return True
        if head is None:  # the bias of o belongs to no head
            return False
        return head in {query // (self.group if component in "kv" else 1) for query in graft.heads}


def _parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    """Every parameter by name, tied ones under each name; norms shared by all heads repeated for each head."""
    config, parameters = model.config, {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        values = parameter.detach().clone()
        shared = re.search(r"([qk])_norm", name) and config.model_type in ("qwen3", "gemma3_text")
        if shared:
            count = config.num_attention_heads if "q_norm" in name else config.num_key_value_heads
            values = values.repeat(count, 1)  # (head, width) broadcasts over Qwen's (token, head, width)
            if config.model_type == "gemma3_text":
                values = values[:, None]  # and (head, 1, width) over Gemma's (head, token, width)
        parameters[name] = values
    return parameters
