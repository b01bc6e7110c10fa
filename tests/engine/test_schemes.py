"""Prompts, grafts, schemes and their notation."""

import subprocess
import sys

import pytest

from weightgraft import Graft, NotationError, Prompt, Scheme, parse_scheme
from weightgraft.engine.notation import LAYER_PARTS, contains, layer_numbers, parse_positions

EVERYTHING = {
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
}


def test_paper_notation_means_what_the_paper_says():
    assert parse_scheme("PRE", donor="sft") == Scheme("PRE")
    assert parse_scheme("SFT", donor="sft").grafts == (Graft(positions="all", donor="sft"),)
    assert parse_scheme("(FE+LT)^C", donor="sft").grafts == (Graft(positions="(FE+LT)^C", donor="sft"),)
    recall = Graft(positions="LT", components="O+FFN", layers="second_half", donor="relation")
    hybrid = parse_scheme("task:ATTN@FE, relation:O+FFN@LT[second_half]")
    assert hybrid.grafts == (Graft(positions="FE", components="ATTN", donor="task"), recall)
    assert recall.component_set == {"o", "gate", "up", "down"}
    assert parse_scheme("O+FFN-UP@LT", donor="sft").grafts[0].component_set == {"o", "up"}
    assert parse_scheme("ATTN+O{0,3}@LT", donor="sft").grafts[0].heads == (0, 3)
    assert parse_scheme("FE", donor="sft").grafts[0].component_set == EVERYTHING


def test_a_scheme_knows_the_position_sets_and_donors_it_uses():
    scheme = parse_scheme("task:ATTN@(FE+M)^C, relation:O@LT, recipient:UNEMBED@all")
    assert scheme.position_sets == {"FE", "M", "LT"}
    assert scheme.donors == {"task", "relation"}
    assert Scheme("PRE").position_sets == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "PRE",
        "SFT",
        "FE",
        "(FE+LT)^C",
        "FE^C+M",
        "O+FFN@LT[second_half]",
        "q{0,2}@FE[0,2-4]",
        "a:ATTN@FE, b:up@LT[3/8]",
    ],
)
def test_a_scheme_written_out_reads_back_the_same(text):
    scheme = parse_scheme(text, donor="sft")
    assert parse_scheme(str(scheme), name=text) == scheme


def test_a_graft_can_be_written_with_sequences():
    written = Graft(positions="LT", components=("o", "up"), layers=(0, 2), donor="sft", heads=None)
    assert written == Graft(positions="LT", components="o+up", layers="0,2", donor="sft")


def test_spaces_in_a_graft_carry_no_meaning_and_join_nothing():
    spaced = Graft(positions=" (FE + LT) ^C", components=" O + FFN ", layers=" all ", donor="sft")
    assert spaced == Graft(positions="(FE+LT)^C", components="O+FFN", layers="all", donor="sft")
    assert Graft(positions="all", layers="all ", donor="sft").component_set == EVERYTHING
    for wrong in (
        {"positions": "F E"},
        {"positions": "FE", "layers": "1 2"},
        {"positions": "FE", "components": "u p"},
    ):
        with pytest.raises(NotationError):
            Graft(donor="sft", **wrong)


@pytest.mark.parametrize(
    ("text", "character", "expected"),
    [
        ("O+FNN@LT", 3, "expected a component"),
        ("FE+", 4, "expected a position set"),
        ("(FE+LT", 7, "')'"),
        ("FE^D", 3, "no meaning"),
        ("O@LT[5-3]", 8, "a layer from 5 on"),
        ("O@LT[seond_half]", 6, "second_half"),
        ("O@LT[9/8]", 6, "from 1/8 to 8/8"),
        ("FE, ", 5, "expected a position set"),
        ("O@FE@LT", 5, "expected ','"),
        ("FE, embed@LT[0]", 5, "belongs to no layer"),
        ("O+UNEMBED@LT[0]", 1, "unembed belongs to no layer"),
        ("FFN{1}@LT", 1, "heads can be chosen for q, k, v, o"),
        ("O@PRE", 3, "expected a position set"),
        ("q{1}+o{2}@LT", 5, "heads stand after the last component"),
        ("", 1, "expected a position set"),
    ],
)
def test_notation_errors_point_at_the_character(text, character, expected):
    with pytest.raises(NotationError) as caught:
        parse_scheme(text, donor="sft")
    assert caught.value.position == character - 1
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_graft_without_donor_is_refused():
    with pytest.raises(NotationError, match="no donor"):
        parse_scheme("FE")


@pytest.mark.parametrize("n_layers", range(1, 50))
def test_the_parts_of_a_partition_cover_every_layer_once(n_layers):
    partitions = {
        parts: [f"{part}/{parts}" for part in range(1, parts + 1)] for parts in (1, 2, 3, 4, 5, 8, 16)
    }
    for unit, parts in {"half": 2, "quarter": 4, "eighth": 8}.items():
        named = [name for name in LAYER_PARTS if name.endswith(unit) and not name.startswith("last")]
        partitions[f"{unit}s"] = named
        assert len(named) == parts
        last = [name for name in LAYER_PARTS if name == f"last_{unit}"]
        assert layer_numbers(last[0], n_layers) == layer_numbers(named[-1], n_layers)
    for members in partitions.values():
        covered = [layer for name in members for layer in layer_numbers(name, n_layers)]
        assert covered == list(range(n_layers))


def test_layers_are_counted_from_zero_and_ranges_include_their_ends():
    assert list(layer_numbers("0,4-6", 8)) == [0, 4, 5, 6]
    assert list(layer_numbers("second_half", 7)) == [3, 4, 5, 6]
    assert list(layer_numbers("all", 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="layer 6 does not exist; the model has layers 0 to 5"):
        layer_numbers("4-6", 6)


def test_position_expressions_are_set_algebra():
    tokens = {0: set(), 1: {"FE"}, 2: {"FE", "M"}, 3: {"M"}, 4: {"LT"}}

    def chosen(text: str) -> set[int]:
        return {token for token, sets in tokens.items() if contains(parse_positions(text), frozenset(sets))}

    assert chosen("FE") == {1, 2}
    assert chosen("FE+LT") == {1, 2, 4}
    assert chosen("(FE+LT)^C") == {0, 3}
    assert chosen("FE+M^C") == {0, 1, 2, 4}
    assert chosen("(FE^C+M)^C") == {1}
    assert chosen("all") == {0, 1, 2, 3, 4}
    assert chosen("all^C") == set()


def test_the_last_token_is_the_default_lt():
    assert Prompt(tokens=(1, 2, 3)).positions["LT"] == (2,)
    assert Prompt(tokens=(1, 2, 3), positions={"LT": (1,)}).positions["LT"] == (1,)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tokens": ()}, "at least one token"),
        ({"tokens": (1, 2), "positions": {"FE": (2,)}}, "outside the prompt's tokens 0 to 1"),
        ({"tokens": (1, 2), "positions": {"FE": ()}}, "empty"),
        ({"tokens": (1, 2), "positions": {"F E": (0,)}}, "letters, digits"),
        ({"tokens": (1, 2), "positions": {"all": (0,)}}, "not one of"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(fields, expected):
    with pytest.raises(ValueError, match=expected):
        Prompt(**fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"components": "unembed", "layers": "first_half"}, "unembed belongs to no layer"),
        ({"components": "o+up", "heads": (0,)}, "heads can be chosen"),
        ({"components": "o", "heads": ()}, "heads is empty"),
        ({"components": "o", "heads": (2, -1)}, "head -1 does not exist; heads are counted from 0"),
        ({"components": "mlp"}, "expected a component"),
    ],
)
def test_grafts_that_contradict_themselves_are_refused(fields, expected):
    with pytest.raises(ValueError, match=expected):
        Graft(positions="LT", donor="sft", **fields)


def test_notation_needs_no_torch():
    code = "import sys; from weightgraft import parse_scheme; parse_scheme('FE', 'x'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
