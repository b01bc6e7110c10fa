"""A config.json of which transformers builds no model ends in one line: option, file, and the entry that is at fault."""

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tiny_models import tiny_model

from weightgraft import Prompt, parse_scheme
from weightgraft.errors import UserError
from weightgraft.loading.configs import OF_TRANSFORMERS, built
from weightgraft.loading.models import rehearse
from weightgraft.notes import gathered

SEARCH = settings(
    max_examples=25,  # a family: 5 families, 125 configs
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
PROMPT, SCHEMES = (
    Prompt(tokens=(1, 2, 3), target=(4,)),
    [parse_scheme(text, donor="x") for text in ("PRE", "SFT")],
)
BAD = [
    "nonesuch",
    -7,
    0,
    3.5,
    77,
    None,
    True,
    [],
    {},
    ["x"],
    {"a": 1},
    "",
    float("nan"),
    {"rope_type": "nonesuch"},
]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "mistral", "phi3"])
def test_the_entry_that_no_model_can_be_built_of_is_named(family, tmp_path):
    folder = Path(tmp_path / family)
    tiny_model(family, 0).save_pretrained(folder)
    whole = json.loads((folder / "config.json").read_text())
    outcomes = []

    @SEARCH
    @given(
        name=st.sampled_from(sorted(set(whole) - {"model_type", "transformers_version"}))
        | st.just("attn_implementation"),
        value=st.sampled_from(BAD),
    )
    def told(name, value):
        values = whole | {name: value}
        (folder / "config.json").write_text(json.dumps(values))
        try:
            built(values)
            buildable = True
        except OF_TRANSFORMERS:
            buildable = False
        try:
            with gathered():
                rehearse(folder, {"x": folder}, PROMPT, SCHEMES)
        except UserError as error:
            line = str(error)
            assert "\n" not in line and str(folder) in line and len(line) < 1500, line
            if not buildable:
                assert "config.json" in line and name in line, (name, value, line)
                outcomes.append("named")
        else:
            assert buildable
            outcomes.append("built")

    told()
    assert {*outcomes} == {"named", "built"}
