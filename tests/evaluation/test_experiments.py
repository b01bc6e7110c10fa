"""Claims about the schemes of experiments: names as the figures and claims expect them, controls of equal size."""

import random
from pathlib import Path

import pytest
from tiny_models import FAMILY_NAMES, tiny_model

from stages.evaluation.experiments import SIZE_TOLERANCE, Subject, cases, patches, random_cells
from stages.evaluation.scoring import cell_sizes
from stages.study.params import read_yaml
from weightgraft.engine.families import family_of
from weightgraft.engine.notation import UNLAYERED, layer_numbers
from weightgraft.engine.parts import anatomy_of
from weightgraft.engine.routes import resolve

EXPERIMENTS = read_yaml(Path("params.yaml"))["experiments"]


def subject(
    family: str = "llama", donor: str = "sft", layers: int = 6, draws: int = 5, seed: int = 0
) -> Subject:
    changes = {"n_layer": layers} if family == "gpt2" else {"num_hidden_layers": layers}
    model = tiny_model(family, seed=0, **changes)
    return Subject(anatomy_of(model, family_of(family)), donor, cell_sizes(model), draws, seed)


def grafts_of(experiment: str, **options) -> dict[str, str]:
    return {case.scheme.name: str(case.scheme) for case in cases(EXPERIMENTS[experiment], subject(**options))}


def test_components_are_named_by_their_notation():
    found = grafts_of("components")
    assert found["O+FFN@LT[second_half]"] == "sft:O+FFN@LT[second_half]"
    grid = {
        f"{name}@LT[{layers}]"
        for name in ("ATTN+O+FFN", "ATTN+FFN", "ATTN+O", "O+FFN", "FFN", "O", "O+FFN-UP", "O+FFN-DOWN")
        for layers in ("second_half", "last_quarter", "all")
    }
    controls = {"O+FFN_random@LT[second_half]", "FFN_random@LT[second_half]"}
    assert set(found) == {"PRE", "SFT", "O+FFN@LT[last_eighth]"} | grid | controls


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma"])
def test_by_layers_only_every_position_scheme_leaves_both_tables_and_the_final_norm_to_pre(family):
    model = subject(family)
    found = {case.scheme.name: case.scheme for case in cases(EXPERIMENTS["layers_only"], model)}
    slots = resolve(list(found.values()), {"recipient": 0, "sft": 1}, model.anatomy)
    positions = [name for name in grafts_of("positions") if name not in ("PRE", "SFT")]
    for name, whole in [(name, name) for name in positions] + [("all", "SFT")]:
        ((one,), (other,)) = found[whole].grafts, found[f"{name} | layers"].grafts
        assert one.positions == other.positions and one.donor == other.donor == "sft"
        left = {slot for slot in slots[one] if slot not in slots[other]}
        assert {component for component, _ in left} == UNLAYERED
        assert {*slots[other]} < {*slots[one]} and not {name for name, _ in slots[other]} & UNLAYERED
    tables = {name: {slot for slot, _ in slots[found[name].grafts[0]]} for name in ("EMBED@FE", "UNEMBED@LT")}
    assert tables == {"EMBED@FE": {"embed"}, "UNEMBED@LT": {"unembed"}}


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma"])
def test_what_is_left_out_is_all_that_a_scheme_lacks_and_by_layers_only_it_has_no_table(family):
    model = subject(family)
    found = {case.scheme.name: case.scheme for case in cases(EXPERIMENTS["necessity"], model)}
    slots = resolve(list(found.values()), {"recipient": 0, "sft": 1}, model.anatomy)
    left_out = {name: scheme for name, scheme in found.items() if " except " in name}
    for name, scheme in left_out.items():
        whole, cell = name.split(" except ")
        grafted, without = scheme.grafts
        assert grafted == found[whole].grafts[0] and grafted.donor == "sft"
        assert without.donor == "recipient" and str(
            without
        ) == f"recipient:{cell.replace('[all]', '')}".replace("all@", "")
        if whole == "FE[1/1]":
            assert not {component for component, _ in {*slots[grafted], *slots[without]}} & UNLAYERED
        else:
            assert {component for component, _ in slots[grafted]} > UNLAYERED
    wanted = {f"{component}@{place}[{part}]" for component in ("ATTN", "O", "FFN", "O+FFN", "all") for place in ("FE", "LT")
              for part in ("all", "second_half", "last_quarter")}  # fmt: skip
    wanted |= {f"{cell}[all]" for cell in ("EMBED@FE", "EMBED@LT", "UNEMBED@LT", "O+FFN+UNEMBED@LT")}
    assert {name.split(" except ")[1] for name in left_out if name.startswith("SFT")} == wanted


def test_of_six_layers_the_last_eighth_is_the_last_one_and_the_last_quarter_two():
    found = {case.scheme.name: case.scheme for case in cases(EXPERIMENTS["components"], subject())}
    layers = {
        name: {*layer_numbers(found[f"O+FFN@LT[{name}]"].grafts[0].layers, 6)}
        for name in ("last_eighth", "last_quarter")
    }
    assert layers == {"last_eighth": {5}, "last_quarter": {4, 5}}


def test_maps_cover_every_component_layer_window_and_head():
    model = subject("gpt2")
    names = {case.scheme.name for case in cases(EXPERIMENTS["layer_component"], model)}
    components = ("ATTN_NORM", "Q", "K", "V", "O", "MLP_NORM", "UP", "DOWN")
    windows = [str(layer) for layer in range(6)] + [f"{layer}-{layer + 1}" for layer in range(5)]
    assert names == {"PRE", "SFT"} | {
        f"{name}@{at}[{window}]" for at in ("LT", "FE") for name in components for window in windows
    }
    heads = {case.scheme.name for case in cases(EXPERIMENTS["heads"], model)}
    assert heads == {"PRE", "SFT"} | {f"O{{{head}}}@LT[{layer}]" for head in range(4) for layer in range(6)}
    layers = {case.scheme.name for case in cases(EXPERIMENTS["position_layer"], model)}
    parts = [*map(str, range(6)), *(f"0-{i}" for i in range(1, 6)), *(f"{i}-5" for i in range(1, 5))]
    assert layers == {"PRE", "SFT"} | {
        f"{place}[{part}]" for place in ("FE", "LT", "R", "(FE+LT)^C") for part in parts
    }
    assert [patch.name for patch in patches(EXPERIMENTS["patching"], 6)][5:10] == [
        "patch FE[5]",
        "patch FE[all]",
        "patch FE[late]",
        "patch FE[last]",
        "patch LT[0]",
    ]
    assert patches(EXPERIMENTS["patching"], 6)[7].layers == patches(EXPERIMENTS["patching"], 6)[4].layers == (
        4,
    ) and patches(EXPERIMENTS["patching"], 6)[8].layers == (5,)


def test_the_hybrid_grafts_relation_at_lt_and_task_before_it():
    found = grafts_of("hybrid", donor="relation")
    assert found["PRE"] == "PRE" and found["SFT"] == "relation:all"
    assert (
        found["relation"] == "relation:O+FFN@LT[second_half]"
        and found["relation [all]"] == "relation:O+FFN@LT"
    )
    assert found["NO FE"] == "task:ATTN@LT, relation:O+FFN@LT[second_half]"
    for name, graft in {"ATTN": "ATTN@", "FFN": "FFN@", "O+FFN": "O+FFN@", "FULL": ""}.items():
        assert found[f"FE {name}"] == f"task:{graft}FE, {found['NO FE']}"
        assert found[f"FE {name} [all]"] == f"task:{graft}FE, {found['NO FE [all]']}"


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_cell_sizes_add_up_to_the_matrices_of_all_layers(family):
    model = tiny_model(family, seed=0)
    layers = model.get_submodule(family_of(family).layers)
    matrices = [
        sum(parameter.numel() for parameter in module.parameters(recurse=False))
        for module in layers.modules()
        if hasattr(module, "weight") and module.weight.dim() == 2
    ]
    assert sum(cell_sizes(model).values()) == sum(matrices)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "gemma"])
def test_random_components_have_the_parameters_of_what_they_stand_beside(family):
    model = subject(family)
    owners = {"recipient": 0, "sft": 1}
    found = cases(EXPERIMENTS["components"], model)
    slots = resolve([case.scheme for case in found], owners, model.anatomy)

    def cells(case) -> set:
        return {slot for graft in case.scheme.grafts for slot in slots[graft]}

    for name in ("O+FFN", "FFN"):
        (wanted,) = (case for case in found if case.scheme.name == f"{name}@LT[second_half]")
        drawn = [case for case in found if case.scheme.name == f"{name}_random@LT[second_half]"]
        size = sum(model.cell_sizes[cell] for cell in cells(wanted))
        assert [case.draw for case in drawn] == [1, 2, 3, 4, 5]
        for case in drawn:
            total = sum(model.cell_sizes[cell] for cell in cells(case))
            assert abs(total - size) <= SIZE_TOLERANCE * size
            assert {graft.positions for graft in case.scheme.grafts} == {"LT"}
        distinct = {frozenset(cells(case)) for case in drawn}
        assert len(distinct) == 5 and frozenset(cells(wanted)) not in distinct


def test_random_components_depend_on_the_seed_and_on_nothing_else():
    def drawn(**options) -> list[str]:
        return [
            str(case.scheme) for case in cases(EXPERIMENTS["components"], subject(**options)) if case.draw
        ]

    assert drawn() == drawn() and drawn(draws=2)[:2] == drawn()[:2]
    assert not set(drawn()) & set(drawn(seed=1))


def test_cells_that_cannot_have_the_wanted_size_are_an_error():
    with pytest.raises(ValueError, match="no random cells have 5 parameters"):
        random_cells({("q", 0): 10, ("k", 0): 10}, 5, random.Random(0))
