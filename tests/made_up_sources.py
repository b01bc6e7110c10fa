"""Models with a source, as params.yaml has them."""

from copy import deepcopy
from pathlib import Path

from tiny_models import tiny_model

from stages.modeling.models import save_model
from stages.modeling.tokens import train_tokenizer
from stages.study.params import read_yaml
from stages.study.schema import Launch, Model

PARAMS = read_yaml(Path("params.yaml"))
DATA = Path("data")
HERE = Launch(train="python", graft="python")
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}


def write_llama(folder: Path) -> Path:
    """A random llama in the hub's layout."""
    tokenizer = train_tokenizer(["Ann stars with Bob."] * 4, 300, bos=True)
    save_model(tiny_model("llama", seed=0, vocab_size=len(tokenizer)), tokenizer, folder)
    return folder


def model_of(source: str, **more) -> Model:
    entry = {**deepcopy(PARAMS["models"]["llama-3_2-1b"]), "architecture": {}}
    entry["source"] = {"model": str(source), "early": "untrained"} | more
    return Model.model_validate(entry)
