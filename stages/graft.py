"""Stage graft: score every scheme of every experiment of a setup on every fact, into one per-fact table."""

from stages.evaluation.models import setup_arguments
from stages.evaluation.setups import evaluate, write_table
from stages.modeling.models import set_up
from stages.params import load_section, run_main


def main() -> None:
    args = setup_arguments(__doc__).parse_args()
    settings = load_section("graft")
    setup = load_section(f"setups.{args.setup}")
    experiments = {name: load_section(f"experiments.{name}") for name in setup["experiments"]}
    set_up(args.seed, load_section(f"models.{args.model}.threads"))
    write_table(args, evaluate(args, settings, setup, experiments))


if __name__ == "__main__":
    run_main(main)
