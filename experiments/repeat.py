"""Run published rows again, drawn at random, and compare: `make repeat`, which draws three.

    python experiments/repeat.py --rows 5 --seed 1
    python experiments/repeat.py ucf101_groups weizmann    # draw from these alone

Each row's own command is run, by the code and on the data that are here, in results/local/repeated; a row that was run
before is not run again. Writes results/local/repeated.csv; `make publish EXPERIMENTS=repeated` makes it a part of
results/README.md.
"""

import argparse
import sys
from pathlib import Path

from btrnn.engine.command import exit_status, run_script, user_errors
from btrnn.engine.sweeps import words_of_run
from btrnn.reports.publishing import chosen
from btrnn.results import repeated
from btrnn.results.store import LOCAL
from btrnn.storage.atomic import replace_file

TRAIN = Path(__file__).resolve().with_name("train.py")


def main() -> None:
    """Draw, run, compare and print; what is finished stays when it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="default: all published ones")
    parser.add_argument("--rows", type=int, default=3, help="how many are drawn (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="of the published rows")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    options = parser.parse_args()
    own = options.results_dir / LOCAL
    rows = repeated.candidates(options.results_dir)
    names = chosen(options.experiments, sorted(rows["experiment"].unique()), "published rows", options.results_dir)
    drawn = repeated.draw(rows[rows["experiment"].isin(names)], options.rows, options.seed)
    configs = TRAIN.parent.parent / "configs"
    words_of = [words_of_run(row["command"], row["name"], row["seed"], configs) for row in drawn]
    for row in drawn:
        took = f"took {row['seconds'] / 60:.0f} min on {row['device']}"
        print(f"drawn: {row['experiment']}, {row['name']}, seed {row['seed']}: {took}", flush=True)
    for row, words in zip(drawn, words_of, strict=True):
        places = (f'results_dir="{own / "repeated"}"', f'data_dir="{options.data_dir}"')  # quoted, as Hydra reads them
        run_script(TRAIN, *words, *places)
        run_dir = own / "repeated" / "runs" / row["experiment"] / row["name"] / f"seed{row['seed']}"
        table = repeated.merge(repeated.read_repeated(own), [repeated.compare(row, run_dir)])
        replace_file(own / repeated.FILE, table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
    print(table[["experiment", "name", "seed", "metric", "published", "again", "sd", "within"]].to_string(index=False))
    print(f"wrote {own / repeated.FILE}")


if __name__ == "__main__":
    sys.exit(exit_status(main, *user_errors()))
