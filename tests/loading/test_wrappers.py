"""The text model in an image-text model is grafted as the wrapper itself computes it, or the cure is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import TOLERANCE, answer, plain, reweighted
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    PreTrainedModel,
)

from weightgraft.loading.families import WRAPPERS

TEXT = {
    **{
        "vocab_size": 61,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    **{"head_dim": 8, "intermediate_size": 40, "max_position_embeddings": 64},
    **{"pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
}
IMAGE = {
    **{
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 28,
    },
    **{"patch_size": 14, "projection_dim": 16},
}
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "gemma3": ("gemma3_text", {}, {"mm_tokens_per_image": 1}),
    "got_ocr2": ("qwen2", {}, {}),
    "idefics3": ("llama", {}, {}),
    "internvl": ("qwen2", {"image_size": [28, 28], "patch_size": [14, 14]}, {}),
    "llava": ("llama", {"model_type": "clip_vision_model"}, {"image_token_index": 60}),
    "llava_next": ("mistral", {"model_type": "clip_vision_model"}, {"image_token_index": 60}),
    "llava_onevision": ("qwen2", {"model_type": "siglip_vision_model"}, {"image_token_index": 60}),
    "mistral3": ("mistral", {"model_type": "pixtral"}, {}),
    "smolvlm": ("llama", {}, {}),
    "video_llava": ("llama", {"model_type": "clip_vision_model"}, {"image_token_index": 60, "video_token_index": 59}),
    "vipllava": ("llama", {"model_type": "clip_vision_model"}, {"image_token_index": 60}),
}  # fmt: skip


def wrapper(kind: str, seed: int, **text: Any) -> PreTrainedModel:
    """text: entries of its text config that differ."""
    family, image, more = KINDS[kind]
    config = CONFIG_MAPPING[kind](
        text_config=TEXT | {"model_type": family} | text, vision_config=IMAGE | image, **more
    )
    torch.manual_seed(seed)
    model = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def test_every_wrapper_is_tried():
    assert {*KINDS} == WRAPPERS


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_part_of_a_wrapper_gives_what_the_wrapper_gives(kind, tmp_path):
    models = [wrapper(kind, seed) for seed in (0, 1)]
    for name, model in zip(("pre", "sft"), models, strict=True):
        model.save_pretrained(tmp_path / name)
    found = answer(tmp_path / "pre", tmp_path / "sft")
    assert not found.line, found.line
    assert abs(found.pre - plain(models[0])) <= TOLERANCE and abs(found.sft - plain(models[1])) <= TOLERANCE
    assert abs(found.pre - found.sft) > 10 * TOLERANCE
    assert all("left out" in note for note in found.notes) and len(found.notes) == 2


@pytest.mark.parametrize(
    ("kind", "entry", "text"),
    [
        ("llava", "logits_scaling", {"model_type": "granite", "logits_scaling": 3.0}),
        ("llava", "final_logit_softcapping", {"model_type": "gemma2"}),
        ("llava_next", "logit_scale", {"model_type": "cohere2"}),
        ("gemma3", "final_logit_softcapping", {"final_logit_softcapping": 1.0}),
    ],
)
def test_a_wrapper_that_leaves_out_what_its_text_model_does_to_logits_is_refused(kind, entry, text, tmp_path):
    wrapper(kind, 0, **text).save_pretrained(tmp_path)
    line = answer(tmp_path, tmp_path).line
    assert (
        line.startswith(f"--recipient {tmp_path}: a {kind} leaves out {entry} (")
        and "save its text part" in line
    )


@pytest.mark.parametrize(
    ("entry", "neutral", "family"),
    [
        ("logits_scaling", 1.0, "granite"),
        ("final_logit_softcapping", None, "gemma2"),
        ("logit_scale", 1.0, "cohere2"),
    ],
)
def test_a_wrapper_whose_text_model_does_nothing_to_logits_is_taken(entry, neutral, family, tmp_path):
    model = wrapper("llava", 0, model_type=family, **{entry: neutral})
    model.save_pretrained(tmp_path)
    found = answer(tmp_path, tmp_path)
    assert not found.line and abs(found.pre - plain(model)) <= TOLERANCE


def test_every_tensor_of_a_wrapper_counts(tmp_path):
    model = wrapper("gemma3", 0)
    model.save_pretrained(tmp_path / "whole")
    for name in ("vision_tower", "multi_modal_projector", "language_model"):
        path = tmp_path / name
        model.save_pretrained(path)

        def drop(weights, part=name):
            weights.pop(next(key for key in sorted(weights) if part in key))

        reweighted(path, drop)
        assert "weights are missing" in answer(tmp_path / "whole", path).line


def test_a_text_model_saved_by_itself_goes_with_its_wrapper(tmp_path):
    model = wrapper("gemma3", 0)
    model.save_pretrained(tmp_path / "wrapper")
    text: Any = AutoModelForCausalLM.from_config(model.config.text_config)
    text.model.load_state_dict(model.get_decoder().state_dict())
    with torch.no_grad():
        text.model.norm.weight.add_(1.0)
    text.save_pretrained(tmp_path / "text")
    found = answer(tmp_path / "wrapper", tmp_path / "text")
    assert not found.line, found.line
    assert abs(found.sft - plain(text)) <= TOLERANCE and abs(found.pre - plain(model)) <= TOLERANCE


def test_an_unknown_wrapper_is_told_how_to_save_its_text_part(tmp_path):
    model = wrapper("llava", 0)
    model.save_pretrained(tmp_path / "odd")
    path: Path = tmp_path / "odd/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "paligemma"}))
    line = answer(tmp_path / "odd", tmp_path / "odd").line
    assert "paligemma is a model around a text model (llama)" in line and "save its text part" in line
