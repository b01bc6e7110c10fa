"""What adapter_config.json may say: other kinds of adapters and their cure, null in the place of what is false or empty,
numbers that are none; and stacks of folders with a plus in their names."""

import json
from pathlib import Path

import pytest
from checkpoints import TOLERANCE, answer, copied, edited, plain, with_adapters
from peft import PromptLearningConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from test_drawn_adapters import CONFIG

from weightgraft.loading.adapter_configs import MERGE, UNMERGED


def line_of(folder: Path, tmp_path: Path, **entries) -> str:
    return answer(folder / "base", edited(copied(folder / "qv", tmp_path / "odd"), CONFIG, **entries)).line


def without(path: Path, entry: str) -> Path:
    settings = json.loads(path.read_text())
    del settings[entry]
    path.write_text(json.dumps(settings))
    return path.parent


@pytest.mark.parametrize("kind", sorted(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind != "LORA"))
def test_every_other_kind_of_peft_is_refused_by_name_with_what_can_be_done(folder, tmp_path, kind):
    line = line_of(folder, tmp_path, peft_type=kind)
    assert f"a {kind} adapter (adapter_config.json: peft_type)" in line
    assert line.endswith("give a LoRA adapter or a whole model" if kind in UNMERGED else MERGE)


def test_no_kind_is_called_merged_that_puts_tokens_before_the_prompt():
    kinds = {kind.value: config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    assert {kind for kind, config in kinds.items() if issubclass(config, PromptLearningConfig)} <= UNMERGED
    assert {*kinds} >= UNMERGED


def test_a_kind_in_small_letters_or_none_at_all_is_told(folder, tmp_path):
    assert "correct that entry" in line_of(folder, tmp_path / "1", peft_type="lora")
    for number, value in enumerate((None, 3, ["LORA"], "")):
        assert f"(peft_type is {value!r}); copy" in line_of(folder, tmp_path / f"n{number}", peft_type=value)
    bare = without(copied(folder / "qv", tmp_path / "bare") / CONFIG, "peft_type")
    assert "does not say what adapter it is (peft_type is None); copy" in answer(folder / "base", bare).line


def test_a_model_without_its_family_is_told(folder, tmp_path):
    bare = without(copied(folder / "sft", tmp_path / "bare") / "config.json", "model_type")
    for line in (answer(folder / "base", bare).line, answer(bare, folder / "sft").line):
        assert "does not say what family the model is of (model_type is None); copy it again" in line


NULLS = ("use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "bias", "lora_dropout")


@pytest.mark.parametrize("entry", NULLS)
def test_null_means_what_is_not_there(folder, tmp_path, entry):
    null = edited(copied(folder / "qv", tmp_path / "null"), CONFIG, **{entry: None})
    assert answer(folder / "base", null) == answer(folder / "base", folder / "qv")


def test_null_in_the_place_of_a_scale_that_the_adapter_had_is_taken_as_peft_takes_it(folder, tmp_path):
    null = edited(copied(folder / "ranked", tmp_path / "null"), CONFIG, use_rslora=None)
    found = answer(folder / "base", null).sft
    assert abs(found - plain(with_adapters(folder / "base", null))) <= TOLERANCE
    assert abs(found - answer(folder / "base", folder / "ranked").sft) > 10 * TOLERANCE


def test_target_modules_of_null_are_those_that_peft_knows_for_the_family(folder, tmp_path):
    null = edited(copied(folder / "qv", tmp_path / "null"), CONFIG, target_modules=None)
    assert answer(folder / "base", null) == answer(folder / "base", folder / "qv")


@pytest.mark.parametrize("entry", ["r", "lora_alpha"])
@pytest.mark.parametrize("value", ["4", "x", None, True, [4], float("nan"), float("inf"), 10**400])
def test_numbers_that_are_none_are_told_in_a_short_line(folder, tmp_path, entry, value):
    line = line_of(folder, tmp_path, **{entry: value})
    assert (
        f"adapter_config.json: {entry} is " in line
        and "it must be a" in line
        and "correct that entry" in line
    )
    assert len(line) < len(str(tmp_path)) + 300


def test_what_peft_cannot_build_is_told_with_the_cure_in_a_short_line(folder, tmp_path):
    line = line_of(folder, tmp_path, target_modules=["q" * 5000])
    assert "peft cannot build this adapter; correct that file, or copy" in line
    assert len(line) < len(str(tmp_path)) + 500


def test_folders_with_a_plus_in_their_names_are_folders_in_a_stack_too(folder, tmp_path):
    names = {"a+b": "qv", "c": "linear", "d++e": "layers"}
    for name, source in names.items():
        copied(folder / source, tmp_path / name)
    right = answer(folder / "base", "+".join(str(folder / source) for source in names.values()))
    assert right.sft and right == answer(folder / "base", "+".join(str(tmp_path / name) for name in names))
    copied(folder / "ranked", tmp_path / "a")  # the longest name counts
    assert right == answer(folder / "base", "+".join(str(tmp_path / name) for name in names))


@pytest.mark.parametrize(
    "stack", ["{0}/qv+", "{0}/qv++{0}/linear", "+{0}/qv", "{0}/qv+{0}/nowhere", "{0}/qv+" + "x" * 300]
)
def test_a_stack_with_a_part_that_is_not_there_is_told(folder, stack):
    line = answer(folder / "base", stack.format(folder)).line
    assert "no such directory: " in line and "'+' stands between adapters on each other" in line
