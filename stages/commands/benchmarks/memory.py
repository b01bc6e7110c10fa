"""Memory: what grafting adds to the models it was given, and the peak of a whole process that scores a prompt set.

Run as a module it is that process: `python -m stages.commands.benchmarks.memory SIZE PROMPTS DEVICE THREADS` prints JSON.
"""

import copy
import gc
import json
import resource
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from weightgraft import GraftedModel

from .models import SIZES, random_pair
from .procedures import packed
from .workloads import position_schemes, random_prompts


def tensors_alive() -> dict[int, int]:
    """Bytes of every tensor storage alive in this process, each once, by an identity."""
    gc.collect()
    storages = [
        tensor.untyped_storage() for tensor in gc.get_objects() if issubclass(type(tensor), torch.Tensor)
    ]
    return {storage._cdata: storage.nbytes() for storage in storages}


def held_beyond(recipient: PreTrainedModel, donors: Mapping[str, torch.nn.Module]) -> int:
    """Bytes of tensors that a GraftedModel holds beyond those of the models it was given."""
    before = tensors_alive()
    grafted = GraftedModel(recipient, donors)
    after = tensors_alive()
    del grafted
    return sum(size for storage, size in after.items() if storage not in before)


def lora_bytes(architecture: Mapping[str, int], rank: int = 16) -> tuple[int, int]:
    """(bytes that a LoRA donor on every linear module but the unembedding adds, bytes of the recipient), float32.

    The shape is the full one, built by transformers and peft on torch's meta device: all of it but the numbers.
    """
    config = AutoConfig.for_model("gpt2", **architecture, bos_token_id=None, eos_token_id=None)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # peft still asks for an attribute that transformers renamed
        recipient = AutoModelForCausalLM.from_config(config).eval()
        settings = LoraConfig(r=rank, target_modules="all-linear", fan_in_fan_out=True, task_type="CAUSAL_LM")
        donor = get_peft_model(copy.deepcopy(recipient), settings).eval()
        held = held_beyond(recipient, {"sft": donor})
    return held, sum(parameter.nbytes for parameter in recipient.parameters())


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has had: on the GPU what torch allocated, on the CPU the resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent process had before this one began
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_a_process(size: str, prompts: int, device: torch.device, threads: int) -> dict[str, int]:
    """What `main` prints, from a process of its own."""
    command = [
        sys.executable,
        "-m",
        "stages.commands.benchmarks.memory",
        size,
        str(prompts),
        str(device),
        str(threads),
    ]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def main() -> None:
    """Two dense float32 models score the eight position schemes. Prints bytes: of one model's weights, held by the
    engine beyond both models, and the process's peak."""
    size, prompts, device = SIZES[sys.argv[1]], int(sys.argv[2]), torch.device(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]))
    pre, sft = random_pair(size.architecture, device)
    held = held_beyond(pre, {"sft": sft})
    packed(
        GraftedModel(pre, {"sft": sft}),
        random_prompts(prompts, pre.config.vocab_size),
        position_schemes(),
    )
    weights = sum(parameter.nbytes for parameter in pre.parameters())
    print(json.dumps({"weights": weights, "held": held, "peak": peak_bytes(device)}))


if __name__ == "__main__":
    main()
