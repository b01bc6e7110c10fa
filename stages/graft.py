"""Stage graft: score every scheme of every experiment of a setup on every fact, into one per-fact table.

Under `accelerate launch` the work is shared out over its processes; what a killed run finished is not scored again.
"""

from stages.evaluation.chunks import processes
from stages.evaluation.models import setup_arguments
from stages.evaluation.setups import evaluate, write_table
from stages.modeling.models import set_up
from stages.study.params import read_settings
from weightgraft.errors import run_main


def main() -> None:
    args = setup_arguments(__doc__).parse_args()
    item = read_settings(args.settings)
    own = item["model"]
    state = processes(own["device"])
    set_up(args.seed, own["threads"])
    scores = evaluate(args, item)
    if scores is not None:
        write_table(args, scores)
    if state.num_processes > 1:
        state.destroy_process_group()


if __name__ == "__main__":
    run_main(main)
