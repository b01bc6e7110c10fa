"""What figure 1 says about schemes is what the engine's notation says."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from stages.plotting.schematic import ALL, COMPONENT_SCHEMES, GRAFTED, LAYERS, PARTS, TOKENS
from stages.plotting.shown import POSITION_SCHEMES
from weightgraft.engine.families import FAMILIES
from weightgraft.engine.notation import layer_numbers


def test_complements_are_all_other_tokens():
    assert list(GRAFTED) == list(POSITION_SCHEMES)
    for scheme, tokens in GRAFTED.items():
        if scheme.endswith("^C"):
            assert tokens == ALL - GRAFTED[scheme.removesuffix("^C").strip("()")] and tokens
    assert GRAFTED["LT"] == {len(TOKENS) - 1} and GRAFTED["FE"] == {0, 1}


@pytest.mark.parametrize("model", ["SFT", "relation"])
def test_o_and_ffn_in_the_second_half_are_what_the_notation_means(model):
    columns = next(
        columns for name, columns in COMPONENT_SCHEMES.items() if (model in name) == (model == "relation")
    )
    served = {
        (part, layer) for part in PARTS for layer in range(LAYERS) if columns["LT"](part, layer) == model
    }
    parts, layers = {"o", "gate", "up", "down"}, layer_numbers("second_half", LAYERS)
    assert served == {(part, layer) for part in parts for layer in layers}
    assert set(PARTS) < set(FAMILIES["llama"].components)


def test_every_scheme_of_the_picture_is_coloured_as_in_the_bars(render, section):
    figure = render("figure1", pd.DataFrame(columns=["model", "setup"]))
    faces = [to_hex(p.get_facecolor()) for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    expected = {
        "FE": 2 + 5 + 2,  # FE, FE^C and the patched state in both runs
        "LT": 1 + 6 + 4 * 3,  # LT, LT^C and the relation model's o, gate, up, down in three layers
        "FE+LT": 3 + 4,
    }
    for scheme, count in expected.items():
        assert faces.count(section["colours"][scheme].lower()) == count, scheme
