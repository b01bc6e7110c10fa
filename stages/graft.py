"""Stage graft: score every scheme of every setup of a model and seed on every fact, into one per-fact table a setup.

One process serves all setups: importing its libraries costs more than scoring a setup of a tiny model. Under `accelerate launch`
the work is shared out over its processes. What a killed run finished is not scored again.
"""

from stages.evaluation.chunks import discard, folder_of, processes
from stages.evaluation.models import graft_arguments
from stages.evaluation.setups import evaluate, write_table
from stages.frame.settings import read_settings
from stages.frame.timing import run_stage
from stages.modeling.models import set_up


def main() -> None:
    args = graft_arguments(__doc__).parse_args()
    item = read_settings(args.settings)
    own = item["model"]
    state = processes(own["device"])
    set_up(args.seed, own["threads"])
    args.out.mkdir(parents=True, exist_ok=True)
    for setup in item["setups"]:
        scores = evaluate(args, item, setup)
        if scores is not None:
            write_table(args.out / f"{setup}.parquet", scores)
    # DVC removes all tables before a run: the scores that are kept beside them go away once all of them are written.
    if state.is_main_process:
        discard(folder_of(args.out))
    if state.num_processes > 1:
        state.destroy_process_group()


if __name__ == "__main__":
    run_stage(main)
