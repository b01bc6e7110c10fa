"""The table of families: every weight of every family belongs to exactly one component."""

import pytest
import torch
from tiny_models import FAMILY_NAMES, VOCAB, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from weightgraft import GraftedModel, Prompt, parse_scheme
from weightgraft.engine import families
from weightgraft.engine.families import FAMILIES
from weightgraft.engine.leaves import transposed_weight
from weightgraft.engine.notation import COMPONENTS
from weightgraft.engine.parts import anatomy_of, leaves_of, linear_parts


def test_every_family_is_tested():
    assert set(FAMILY_NAMES) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_parameter_belongs_to_exactly_one_leaf(name):
    model, family = tiny_model(name, 0), FAMILIES[name]
    paths = [path for path, *_ in leaves_of(family, anatomy_of(model, family))]
    parameters = [key.rpartition(".")[0] for key, _ in model.named_parameters(remove_duplicate=False)]
    assert sorted(set(parameters)) == sorted(paths)
    assert len(paths) == len(set(paths))
    assert set(family.components) <= set(COMPONENTS)
    assert set(COMPONENTS) - set(family.components) <= {"gate", "mlp_norm"}


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_components_and_heads_cover_every_column_once(name):
    model, family = tiny_model(name, 0), FAMILIES[name]
    anatomy = anatomy_of(model, family)
    for path, leaf, slots, _ in leaves_of(family, anatomy):
        module = model.get_submodule(path)
        parts = linear_parts(path, leaf, module, slots, anatomy)
        if parts is None:
            continue
        inputs, outputs = transposed_weight(module)[0].shape
        for members in filter(None, parts):
            by_inputs = members[0].kind == "inputs"
            columns = [
                column for part in members for start, stop in part.spans for column in range(start, stop)
            ]
            assert sorted(columns) == list(range(inputs if by_inputs else outputs))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "phi3"])
def test_slices_of_fused_projections_are_what_the_model_uses_as_query_key_and_value(name, monkeypatch):
    """Setting the columns of one component to zero makes exactly that input of attention zero."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    model, family = tiny_model(name, 0), FAMILIES[name]
    anatomy = anatomy_of(model, family)
    path, leaf, slots, _ = next(row for row in leaves_of(family, anatomy) if len(row[1].components) == 3)
    wholes, heads = linear_parts(path, leaf, model.get_submodule(path), slots, anatomy)
    seen: list[list[bool]] = []
    stock = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def watch(module, query, key, value, *args, **options):
        if len(seen) == 0:
            seen.append(
                [
                    [bool(states[:, head].any()) for head in range(states.shape[1])]
                    for states in (query, key, value)
                ]
            )
        return stock(module, query, key, value, *args, **options)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "sdpa", watch)
    for part in (*wholes, *heads):
        module = tiny_model(name, 0)
        weight, bias = transposed_weight(module.get_submodule(path))
        with torch.no_grad():
            for start, stop in part.spans:
                weight[:, start:stop] = 0
                if bias is not None:
                    bias[start:stop] = 0
            module(input_ids=torch.tensor([[1, 2, 3]]))
        component = leaf.components.index(next(key for key, slot in slots.items() if slot == part.slot))
        for place, nonzero in enumerate(seen.pop()):
            zeroed = [place == component and part.head in (None, head) for head in range(len(nonzero))]
            assert [not flag for flag in nonzero] == zeroed


def test_the_example_row_of_the_docs_works(monkeypatch):
    """The row that families.py shows for Arcee, taken from its text."""
    row = next(line for line in families.__doc__.splitlines() if line.strip().startswith('"arcee":'))
    name, family = next(iter(eval("{" + row + "}", vars(families)).items()))
    monkeypatch.setitem(FAMILIES, name, family)
    config = AutoConfig.for_model(
        name,
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn(parameter.shape)
        models.append(model.eval())
    prompt = Prompt(tokens=(5, 17, 3, 40))
    schemes = [parse_scheme(text, donor="sft") for text in ("PRE", "SFT", "FFN@LT")]
    logits = GraftedModel(models[0], {"sft": models[1]}).logits([prompt], schemes)[0]
    for row, model in zip(logits[:2], models, strict=True):
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([prompt.tokens])).logits[0, -1]
        assert (row - expected).abs().max() <= 1e-5 * expected.abs().max()  # float32
    assert (logits[2] - logits[0]).abs().max() > 0.1 and (logits[2] - logits[1]).abs().max() > 0.1
