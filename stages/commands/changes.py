"""How far finetuning moved the weights: the norm of SFT - PRE relative to PRE's, by component and layer (make beyond; X3).

It reads what `make repro` and `make real` have trained on this machine, and trains nothing; of a model that was not trained here
the table keeps what it says.
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from stages.analysis.provenance import read_lock
from stages.analysis.tables import write_csv
from stages.commands.beyond_results import with_others
from stages.modeling.models import load_model
from stages.plotting.changes import changes_figure
from stages.plotting.style import save_figure
from stages.study.params import load_section
from weightgraft.engine.families import family_of
from weightgraft.engine.parts import anatomy_of, leaves_of
from weightgraft.errors import UserError, run_main
from weightgraft.loading.models import be_quiet
from weightgraft.progress import bar
from weightgraft.style import RC

# The engine's components as the study groups them; norms are left out: they are few, and near 1.
GROUPS = {
    **dict.fromkeys(("q", "k", "v"), "ATTN"),
    **{
        "o": "O",
        "gate": "FFN-UP",
        "up": "FFN-UP",
        "down": "FFN-DOWN",
        "embed": "EMBED",
        "unembed": "UNEMBED",
    },
}
COLUMNS = ["model", "seed", "recipe", "component", "layer", "relative_norm"]


def matrices(model: PreTrainedModel) -> Iterator[tuple[str, int, str, Tensor]]:
    """(group, layer, path, weights) of every module that holds a matrix of weights; layer: -1 below the layers, as many as there
    are above them."""
    family = family_of(model.config.model_type)
    anatomy = anatomy_of(model, family)
    for path, leaf, _, readout in leaves_of(family, anatomy):
        inside = path.removeprefix(f"{family.layers}.")
        layer = anatomy.n_layers if readout else int(inside.split(".")[0]) if inside != path else -1
        # GPT-2's table of places is an embedding too; a module of several components (q, k, v) is of one group.
        if (group := GROUPS.get(leaf.components[0])) and leaf.path.rpartition(".")[2] not in (
            "q_norm",
            "k_norm",
        ):
            yield group, layer, path, model.get_parameter(f"{path}.weight").detach().float()


def relative_norms(pre: PreTrainedModel, sft: PreTrainedModel) -> dict[tuple[str, int], float]:
    """(group, layer) -> the Frobenius norm of all the group's changes there over that of PRE's weights."""
    squares: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for (group, layer, _, ours), (_, _, _, theirs) in zip(matrices(pre), matrices(sft), strict=True):
        squares[group, layer][0] += (theirs - ours).double().square().sum().item()
        squares[group, layer][1] += ours.double().square().sum().item()
    return {place: (change / whole) ** 0.5 for place, (change, whole) in squares.items()}


def finetuned(base: Path, folder: Path) -> PreTrainedModel:
    """The finetuned model, an adapter merged into its base."""
    if not (folder / "adapter_config.json").is_file():
        return load_model(folder)[0]
    return PeftModel.from_pretrained(load_model(base)[0], folder).merge_and_unload()


def trained_in(root: Path, model: str) -> list[tuple[int, str, Path]]:
    """(seed, recipe, folder) of every finetuning of a model that is there, by the lock from the very base that is there."""
    lock = read_lock(root / "dvc.lock") if (root / "dvc.lock").is_file() else {}
    written = {out: md5 for stage in lock.values() for out, md5 in stage["outs"].items()}
    base, folder = f"runs/pretrain/{model}", re.compile(rf"runs/finetune/{re.escape(model)}-(\d+)/([\w-]+)")
    return sorted(
        (int(place[1]), place[2], root / out)
        for stage in lock.values()
        for out in stage["outs"]
        if (place := folder.fullmatch(out))
        and stage["deps"].get(base) == written.get(base)
        and (root / out).is_dir()
    )


def weight_changes(roots: Mapping[str, Path]) -> pd.DataFrame:
    """COLUMNS of every finetuning that is there. roots: of each model the copy of the repository in which it was trained.

    Raises:
        UserError: of no model anything is there.
    """
    rows: list[dict[str, Any]] = []
    found = {model: trainings for model, root in roots.items() if (trainings := trained_in(root, model))}
    if not found:
        raise UserError("runs/finetune holds no model: run `make repro` first")
    with bar("changes", sum(map(len, found.values())), "models") as shown:
        for model, trainings in found.items():
            base = roots[model] / f"runs/pretrain/{model}"
            pre = load_model(base)[0]
            for seed, recipe, folder in trainings:
                for (group, layer), value in relative_norms(pre, finetuned(base, folder)).items():
                    place = {
                        "model": model,
                        "seed": seed,
                        "recipe": recipe,
                        "component": group,
                        "layer": layer,
                    }
                    rows.append(place | {"relative_norm": value})
                shown.update()
    return pd.DataFrame(rows, columns=COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("results/beyond"))
    args = parser.parse_args()
    be_quiet()
    roots = {model: Path(".real") / model for model in load_section("real")}
    roots |= dict.fromkeys(load_section("study.models"), Path())
    here = weight_changes(roots)
    path = args.out / "changes.csv"
    write_csv(with_others(here, path, [*roots], by=("model", "seed", "recipe")), path)
    with matplotlib.rc_context(RC):  # of the file: the figure is the same wherever its rows were made
        save_figure(changes_figure(pd.read_csv(path)), args.out / "changes")
    print(f"changes: {path}: {here.groupby(['model', 'seed', 'recipe']).ngroups} finetunings of this machine")


if __name__ == "__main__":
    run_main(main)
