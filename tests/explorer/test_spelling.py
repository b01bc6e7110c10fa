"""From cells to the notation and back: what is clicked is what the scheme says."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightgraft import parse_scheme
from weightgraft.engine.routes import Anatomy
from weightgraft.explorer.cube import cube_of, lit_cells, slots_of, toggled
from weightgraft.explorer.spelling import spelled

LLAMA = ("embed", "attn_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down", "final_norm", "unembed")
GPT2 = tuple(component for component in LLAMA if component != "gate")
ANATOMIES = {
    "llama": Anatomy("llama", LLAMA, 6, 4, 2, 8, output_bias=False),
    "gpt2": Anatomy("gpt2", GPT2, 4, 4, 4, 8, output_bias=True),
    "one layer": Anatomy("llama", LLAMA, 1, 4, 2, 8, output_bias=False),
}
DONORS = ["sft", "task"]
OWNERS = {"recipient": 0, "sft": 1, "task": 2}
N_TOKENS = 8
SETS = {"FE": (1, 2), "M": (4, 5), "LT": (7,)}
POSITIONS = SETS | {f"T{token}": (token,) for token in range(N_TOKENS)}


def cube(text: str, anatomy: Anatomy):
    return cube_of(parse_scheme(text, donor="sft"), POSITIONS, N_TOKENS, OWNERS, anatomy)


def written(text: str, anatomy: Anatomy = ANATOMIES["llama"], sets=SETS) -> str:
    return spelled(cube(text, anatomy), sets, DONORS, anatomy)


@pytest.mark.parametrize(
    "text",
    [
        *("PRE", "SFT", "FE", "LT", "FE+LT", "(FE+LT)^C", "FE^C", "FE+M+LT", "T3", "T3[2]", "task:SFT"),
        *("all[2]", "FE[0-3]", "all[1/1]", "O+FFN@LT[second_half]", "ATTN@FE", "EMBED@FE", "UNEMBED@LT"),
        *("ATTN+O@LT", "O{0,3}@LT", "task:ATTN@FE, O+FFN@LT[second_half]", "FFN-UP@LT", "ATTN+FFN@LT[3-4]"),
    ],
)
def test_what_the_paper_writes_is_written_as_the_paper_does(text):
    again = written(text)
    assert cube(again, ANATOMIES["llama"]) == cube(text, ANATOMIES["llama"])
    assert sorted(again.split(", ")) == sorted(text.split(", "))


def test_names_of_position_sets_are_used_only_where_they_are_known():
    assert written("FE+LT", sets={}) == "T1+T2+T7"


def test_a_row_and_a_column_that_cross_are_two_grafts():
    assert sorted(written("T3, all[2]").split(", ")) == ["T3", "all[2]"]


def test_all_but_one_cell_is_sft_with_the_recipient_put_back():
    assert written("SFT, recipient:T3[2]") == "SFT, recipient:T3[2]"


GRAFT = st.tuples(
    st.sampled_from(["", "task:", "recipient:"]),
    st.sampled_from(["", "O@", "ATTN@", "FFN@", "O+FFN-UP@", "NORM@", "Q{1}@", "ATTN+O{0,2}@", "K+O{3}@"]),
    st.sampled_from(["FE", "LT", "M+LT", "FE^C", "(FE+M)^C", "T0", "T3+T6", "all"]),
    st.sampled_from(["", "[0]", "[1/1]", "[second_half]", "[1/2]"]),
)


@given(grafts=st.lists(GRAFT, min_size=1, max_size=4), name=st.sampled_from(sorted(ANATOMIES)))
@settings(max_examples=30, derandomize=True, deadline=None)
def test_any_scheme_is_written_so_that_it_reads_as_the_same_cells(grafts, name):
    anatomy = ANATOMIES[name]
    asked = cube(", ".join("".join(parts) for parts in grafts), anatomy)
    for sets in (SETS, {}):
        assert cube(spelled(asked, sets, DONORS, anatomy), anatomy) == asked


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(ANATOMIES)))
@settings(max_examples=4, derandomize=True, deadline=None)
def test_any_cells_at_all_can_be_written(seed, name):
    anatomy, drawn = ANATOMIES[name], random.Random(seed)
    some = tuple(tuple(drawn.choice((0, 0, 0, 1, 2)) for _ in slots_of(anatomy)) for _ in range(N_TOKENS))
    assert cube(spelled(some, SETS, DONORS, anatomy), anatomy) == some


def test_a_second_click_takes_back_what_the_first_one_grafted():
    anatomy, before = ANATOMIES["llama"], cube("LT", ANATOMIES["llama"])
    click = ((1, 2), ("0", "embed"), anatomy.components, 1, anatomy)
    once = toggled(before, *click)
    assert spelled(once, SETS, DONORS, anatomy) != "LT" and toggled(once, *click) == before


def test_a_click_on_what_is_grafted_in_part_grafts_all_of_it():
    anatomy = ANATOMIES["llama"]
    grown = toggled(cube("T3[2]", anatomy), (3,), ("2", "3"), anatomy.components, 1, anatomy)
    assert grown == cube("T3[2-3]", anatomy)


def test_the_cells_that_are_lit_say_how_much_of_them_is_grafted():
    anatomy = ANATOMIES["llama"]
    (lit,) = lit_cells(cube("O+task:Q@T3[2]".replace("O+task:Q", "O"), anatomy), DONORS, anatomy)
    assert (lit["row"], lit["token"], lit["donor"]) == ("2", 3, "sft")
    assert lit["share"] == pytest.approx(1 / 9, abs=1e-4) and lit["components"] == {"sft": ["o"]}
    assert len([*lit_cells(cube("SFT", anatomy), DONORS, anatomy)]) == N_TOKENS * (anatomy.n_layers + 2)
    assert not [*lit_cells(cube("PRE", anatomy), DONORS, anatomy)]
