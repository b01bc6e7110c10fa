"""Stage graft: score every scheme of every experiment of a setup on every fact, into one per-fact table."""

from stages.evaluation.models import setup_arguments
from stages.evaluation.setups import evaluate, write_table
from stages.modeling.models import set_up
from stages.params import read_settings, run_main


def main() -> None:
    args = setup_arguments(__doc__).parse_args()
    item = read_settings(args.settings)
    set_up(args.seed, item["model"]["threads"])
    write_table(args, evaluate(args, item["graft"], item["setup"], item["experiments"]))


if __name__ == "__main__":
    run_main(main)
