"""Cut attention: exact by the oracle, shared as far as it can be, and nothing where nothing is cut."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from test_exactness import CASES, LAYERS, POSITIONS, TOLERANCE, built, case_of, largest_difference
from tiny_models import FAMILY_NAMES

from weightgraft import Cut, GraftedModel, NotationError, Prompt, Scheme, parse_scheme
from weightgraft.errors import UserError
from weightgraft.inspection.question import read_schemes

CUTS = st.lists(
    st.fixed_dictionaries({"queries": POSITIONS, "keys": POSITIONS, "layers": LAYERS}), max_size=2
)
LONG = Prompt(tokens=(7, 12, 45, 3, 18, 9, 30, 2), positions={"FE": (1, 2), "M": (4,)}, target=(5, 6), foil=8)


def with_cuts(schemes: list[Scheme], cuts: list[list[dict]], prompts: list[Prompt], grafted: GraftedModel):
    """The schemes with those of the cuts that cut something in all prompts."""
    made = []
    for scheme, own in zip(schemes, cuts, strict=False):
        kept: list[Cut] = []
        for fields in own:
            cut = Cut(**fields)
            try:
                grafted.plan(prompts, [Scheme("x", (), (cut,))])
            except ValueError:
                continue
            kept.append(cut)
        made.append(Scheme(scheme.name, scheme.grafts, tuple(kept)))
    return made


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_cut_attention_equals_the_literal_procedure(family: str):
    grafted, _ = built(family)
    cut = []

    @settings(
        max_examples=4,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(drawn=CASES, cuts=st.lists(CUTS, min_size=4, max_size=4))
    def agree(drawn: dict, cuts: list):
        case = case_of(drawn, family)
        case.schemes = with_cuts(case.schemes, cuts, case.prompts, grafted)
        cut.append(any(scheme.cuts for scheme in case.schemes))
        assert largest_difference(family, case) <= TOLERANCE

    agree()
    assert sum(cut) >= 2


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_cut_in_any_layer_changes_what_the_token_says(family: str):
    grafted, _ = built(family)
    layers = range(grafted.anatomy.n_layers)
    schemes = [parse_scheme("PRE"), *(parse_scheme(f"cut LT<-all[{layer}]") for layer in layers)]
    logits = grafted.logits([LONG], schemes)[0]
    changes = (logits[1:] - logits[0]).abs().amax(dim=-1) / logits[0].abs().max()
    assert (changes > 1e-3).all()


def test_a_cut_in_no_layer_is_no_cut(grafted):
    pairs = [("FE", "FE, cut LT<-FE[1/8]"), ("SFT", "SFT, cut LT<-all[1/8]")]
    schemes = [parse_scheme(text, donor="sft") for pair in pairs for text in pair]
    assert grafted.node_counts([LONG], schemes) == grafted.node_counts([LONG], schemes[::2])
    logits = grafted.logits([LONG], schemes)[0]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[2], logits[3])


def test_what_nobody_sees_does_not_matter(grafted):
    """With FE cut from every later token, whose weights serve FE is the same to the answer."""
    schemes = [parse_scheme(text, donor="sft") for text in ("cut FE^C<-FE", "FE, cut FE^C<-FE", "PRE", "FE")]
    blind, blind_fe, pre, fe = grafted.logits([LONG], schemes)[0]
    assert (pre - fe).abs().max() > 0.1
    torch.testing.assert_close(blind, blind_fe, rtol=0, atol=1e-5 * float(blind.abs().max()))


def test_what_is_not_finite_stays_where_it_is_cut_off(grafted):
    """A state that overflows at FE does not reach the tokens that do not see it."""
    with torch.no_grad():
        broken = grafted._backbone.get_submodule("layers.0.mlp.down_proj").leaves[1]
        kept = broken.weight.clone()
        broken.weight.fill_(torch.inf)
        try:
            seen, cut = grafted.logits(
                [LONG], [parse_scheme(text, donor="sft") for text in ("down@FE", "down@FE, cut FE^C<-FE")]
            )[0]
        finally:
            broken.weight.copy_(kept)
    assert not seen.isfinite().any() and cut.isfinite().all()


def test_a_cut_that_cuts_nothing_is_refused_in_one_line(grafted):
    for text in ("cut FE<-LT", "FE, cut FE<-M", "cut LT<-LT"):
        with pytest.raises(
            ValueError, match=r"prompt 0: scheme .* cuts nothing: no token at .* looks back only"
        ):
            grafted.score([LONG], [parse_scheme(text, donor="sft")])
    with pytest.raises(ValueError, match="layer 9 does not exist"):
        grafted.score([LONG], [parse_scheme("cut LT<-FE[9]")])
    with pytest.raises(ValueError, match="prompt 0 has no position set 'XY'"):
        grafted.score([LONG], [parse_scheme("cut LT<-XY")])


def test_cuts_are_written_and_read_alike():
    scheme = parse_scheme("FE + LT, cut LT <- FE+M [second_half], task:LT, cut (FE)^C<-FE", donor="sft")
    assert [str(cut) for cut in scheme.cuts] == ["cut LT<-FE+M[second_half]", "cut (FE)^C<-FE"]
    assert parse_scheme(str(scheme), name=scheme.name) == scheme
    assert scheme.position_sets == {"FE", "LT", "M"}
    # A position set may be called so all the same.
    assert parse_scheme("cut+LT[0]", donor="sft").grafts[0].positions == "cut+LT"
    for text, place in (("cut LT", 7), ("cut LT<-", 9), ("cut LT<-FE@q", 11), ("FE<-LT", 3)):
        with pytest.raises(NotationError, match=f"character {place}: "):
            parse_scheme(text, donor="sft")


def test_the_command_takes_cuts_and_names_a_position_set_that_does_not_exist():
    schemes = read_schemes(["SFT, cut LT<-FE", "cut (LT)<-FE"], ["sft"], ["FE"], 8)
    assert [str(cut) for scheme in schemes for cut in scheme.cuts] == ["cut LT<-FE", "cut (LT)<-FE"]
    with pytest.raises(UserError, match="no position set 'XY'"):
        read_schemes(["SFT, cut LT<-XY"], ["sft"], ["FE"], 8)
