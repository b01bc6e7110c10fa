"""From checked directories to a rehearsal without weights, and to the grafted model."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from weightgraft import GraftedModel, Prompt, Scheme
from weightgraft.engine.configs import ON_LOGITS, entries_read
from weightgraft.errors import UserError
from weightgraft.loading.configs import OF_TRANSFORMERS, class_of, culprit
from weightgraft.loading.families import SAVE_TEXT_PART, WRAPPERS
from weightgraft.loading.files import CONFIG, is_adapter, read_json
from weightgraft.loading.fit import check_model_fits
from weightgraft.loading.folders import model_header, stacked, weight_files
from weightgraft.loading.headers import is_old_buffer
from weightgraft.notes import note

LONGEST = 600  # letters of an error of transformers or peft, which may list every weight
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@contextmanager
def one_line_errors(
    prefix: str = "", hint: str = "", more: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """What the engine and transformers refuse, as one line. more: kinds of errors beside the usual ones."""
    kinds: tuple[type[Exception], ...] = (ValueError, FloatingPointError, OSError, *more)
    try:
        yield
    except kinds as error:
        told = " ".join(str(error).split())
        raise UserError(prefix + (told[:LONGEST] + " ..." if len(told) > LONGEST else told) + hint) from None


def be_quiet() -> None:
    """No notices and no bars of transformers and peft: stderr is for ours."""
    warnings.simplefilter(
        "ignore", FutureWarning
    )  # peft asks transformers for names that it is about to drop
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def chosen_device(name: str) -> torch.device:
    """auto: the GPU where there is one.

    Raises:
        UserError: cuda is wanted, and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no GPU here; choose auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def rehearse(
    recipient: Path, donors: Mapping[str, Path], prompt: Prompt, schemes: Sequence[Scheme]
) -> GraftedModel:
    """The engine on models without weights: what it refuses in their make-up, the prompt or the schemes, it refuses now, and
    what files hold is held against what models take. Returns the engine, to be asked for its anatomy.

    Raises:
        UserError: the engine's refusal, or the first weight that is missing, too much or of another shape.
    """
    with torch.device("meta"), _optioned(recipient, donors):
        base = _skeleton(f"--recipient {recipient}", recipient)
        grafted = GraftedModel(
            base,
            {
                name: _adapters(folder) or _skeleton(f"--donor {name}={folder}", folder)
                for name, folder in donors.items()
            },
        )
    with one_line_errors():
        grafted.node_counts([prompt], schemes)
    return grafted


def load_grafted(
    recipient: Path, donors: Mapping[str, Path], dtype: torch.dtype, device: torch.device
) -> GraftedModel:
    """All models, on one device and in one type, in the engine. An adapter stays low-rank.

    Raises:
        UserError: a weight is missing or not a finite number, or the engine refuses a donor.
    """
    base = load_model(f"--recipient {recipient}", recipient, dtype, device)
    loaded = {
        name: _adapters(folder) or load_model(f"--donor {name}={folder}", folder, dtype, device)
        for name, folder in donors.items()
    }
    with _optioned(recipient, donors):
        return GraftedModel(base, loaded)


def _adapters(folder: Path) -> list[str]:
    """The adapters of a donor, as the engine takes them; none where it is a whole model."""
    return [str(part) for part in stacked(folder)] if is_adapter(stacked(folder)[0]) else []


@contextmanager
def _optioned(recipient: Path, donors: Mapping[str, Path]) -> Iterator[None]:
    """What the engine refuses of a model, as one line that begins with its option."""
    options = {f"donor {name!r}": f"--donor {name}={folder}" for name, folder in donors.items()}
    options["recipient"] = f"--recipient {recipient}"
    try:
        yield
    except ValueError as error:
        told = " ".join(str(error).split())
        for name, option in options.items():
            if told.startswith(f"{name}: "):
                rest = told.removeprefix(f"{name}: ")
                told = f"{option}: " + rest.removeprefix(f"{option.partition('=')[2]}: ")
        raise UserError(told) from None


@contextmanager
def _of_transformers(option: str, folder: Path | None = None) -> Iterator[None]:
    """What transformers raises while it reads a config or builds its model, as one line. folder: whose config.json is asked
    for the entry that is at fault."""
    try:
        yield
    except OF_TRANSFORMERS as error:
        told = " ".join(f"{error}".split()) or type(error).__name__
        if isinstance(error, KeyError | ZeroDivisionError | AssertionError | IndexError):
            told = f"{type(error).__name__}: {told}"
        told = told[:LONGEST] + " ..." if len(told) > LONGEST else told
        entry = None if folder is None else culprit(read_json(option, folder / CONFIG), told)
        at = "" if entry is None else f" with {entry}; correct that entry, or copy {CONFIG} again"
        raise UserError(f"{option}: {CONFIG}: transformers cannot build this model{at}: {told}") from None


def read_config(option: str, folder: Path) -> PretrainedConfig:
    """The configuration of a folder.

    Raises:
        UserError: names the entry that cannot be.
    """
    with _of_transformers(option, folder):
        # In the place of the config's own word for the type of weights, which transformers knows in one spelling only: the files
        # say their types, and --dtype says which is computed in.
        config = AutoConfig.from_pretrained(folder, dtype=torch.float32, **LOCAL)
        config._name_or_path = str(folder)
        return config


def _text_part(option: str, model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, or the text model in an image-text model, with the modules that it has there.

    Raises:
        UserError: what the text model does to its logits by itself, the image-text model leaves out.
    """
    if model.config.model_type not in WRAPPERS:
        return model
    with torch.device("meta"):
        text = AutoModelForCausalLM.from_config(model.config.get_text_config(), dtype=model.dtype)
    left_out = entries_read(type(text)) - entries_read(type(model))
    for entry, neutral in ON_LOGITS.items():
        if entry in left_out and (value := getattr(text.config, entry, None)) not in (None, neutral):
            raise UserError(
                f"{option}: a {model.config.model_type} leaves out {entry} ({value}) of the text model in it "
                f"({text.config.model_type}), which gives other numbers by itself; to ask that, {SAVE_TEXT_PART}"
            )
    setattr(text, text.base_model_prefix, model.get_decoder())
    text.set_output_embeddings(model.get_output_embeddings())
    return text.eval()


def _skeleton(option: str, folder: Path) -> PreTrainedModel:
    """The text model of a folder without weights, once it is known that its files hold just what it takes."""
    config = read_config(option, folder)
    with _of_transformers(option, folder), torch.device("meta"):
        whole = class_of(config)._from_config(config, dtype=torch.float32)
        text = _text_part(option, whole)
    check_model_fits(option, whole, model_header(option, folder))
    return text


def load_model(option: str, folder: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """A folder's model, or the text model in an image-text model, its weights mapped from the files where they have the type
    that is wanted already.

    Raises:
        UserError: transformers found too little, too much or something else in the files.
    """
    config = read_config(option, folder)
    with ExitStack() as opened, _of_transformers(option):
        files = [
            opened.enter_context(safe_open(path, framework="pt")) for path in weight_files(option, folder)
        ]
        # Given as a state dict, so that transformers looks for no other file: no adapter, no other candidate.
        state = {key: file.get_slice(key) for file in files for key in list(file.keys())}
        loaded: Any = class_of(config).from_pretrained(
            None, config=config, state_dict=state, dtype=dtype, output_loading_info=True
        )
    model, told = loaded
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys", "error_msgs"):
        found = sorted(map(str, told.get(kind) or ()))
        if kind == "unexpected_keys":  # whether an old buffer is one, its shape has told before
            found = [key for key in found if not is_old_buffer(key, ())]
        if found:
            raise UserError(f"{option}: transformers has {kind.replace('_', ' ')} in these files: {found[0]}")
    text = _text_part(option, model)
    kept = {id(parameter) for parameter in text.parameters()}
    if left := [name for name, parameter in model.named_parameters() if id(parameter) not in kept]:
        note(
            f"{option}: the text model in a {config.model_type} was read; left out: {len(left)} weights, the first {left[0]}"
        )
    text.config._name_or_path = str(folder)
    return torch.nn.Module.to(text, device).eval()
