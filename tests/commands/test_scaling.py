"""What docs/big_models.md says about the paper's models' size is arithmetic that can be checked."""

from pathlib import Path

import pytest

from stages.commands.scaling import ENTRIES, GPUS, REACHED, narrow, seconds, updates_of
from stages.evaluation.memory import PUBLISHED, published_config
from stages.study.params import read_yaml

PARAMS = read_yaml(Path("params.yaml"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_narrow_model_has_the_depth_and_the_heads_of_the_papers(name):
    wide, slim = published_config(name), narrow(name).config
    for key in ("num_hidden_layers", "num_attention_heads"):
        assert getattr(slim, key) == getattr(wide, key)
    assert getattr(slim, "num_key_value_heads", None) == getattr(wide, "num_key_value_heads", None)
    assert slim.hidden_size < wide.hidden_size


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_arithmetic_is_about_the_models_of_params_yaml(name):
    config = published_config(name)
    for key, value in PARAMS["models"][ENTRIES[name]]["architecture"].items():
        assert getattr(config, key) == value, key


def test_updates_count_directions_halves_epochs_and_what_is_mixed_in():
    rows = [{"direction": way, "half": half} for way in ("ab", "ba") for half in "ab" for _ in range(10)]
    texts = {"fmra": rows}
    assert updates_of(["fmra"], PARAMS, texts, "gpt2-xl") == 40 * 10 / 4  # ten epochs, four texts an update
    assert updates_of(["half_a", "b_to_a"], PARAMS, texts, "gpt2-xl") == 2 * (20 * 10 / 4)
    assert updates_of(["gentle"], PARAMS, texts, "gpt2-xl") == pytest.approx(40 / 0.8 * 10 / 4)


def test_the_slower_of_operations_and_memory_counts():
    gpu = GPUS[1]
    assert seconds(gpu.speed, 0.0, gpu) == pytest.approx(1 / REACHED)
    assert seconds(gpu.speed, 3.0 * gpu.bandwidth, gpu) == pytest.approx(3 / REACHED)
