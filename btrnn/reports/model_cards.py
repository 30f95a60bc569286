"""Model cards of the exported weights: what each is, its numbers, its command, its limits. No torch.

results/weights/index.csv lists what was exported; the cards are made of it and of the committed tables.
"""

from pathlib import Path

import pandas as pd

from btrnn.reports import tables
from btrnn.reports.format import count, markdown_table, ratio
from btrnn.results.schema import CAPTIONING, schema_of
from btrnn.results.store import read_results
from btrnn.results.summary import Row, summarise
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import ResultsError, read_csv

LARGEST_BYTES = 10_000_000  # of a file that is committed
COLUMNS = ("experiment", "name", "seed", "file", "bytes")
_TASKS = {"ucf11": "action recognition", "draw": "image generation by DRAW", "captioning": "image captioning"}
_NOTE = "Made by `python experiments/report.py` from index.csv and the CSV files in results/; do not edit."
_TITLE = """# Trained weights

One run of each reported model, with a card each. `python experiments/evaluate.py FILE` gives the reported number again.
Files over 10 MB are not kept: their cards name the command that remakes one."""
_LICENCE = (
    "MIT, as this repository. Where the data come from, and their licences: [data/README.md](../../data/README.md)."
)


def weights_dir(results_dir: Path) -> Path:
    """Return where exported weights are committed."""
    return results_dir / "weights"


def read_index(results_dir: Path) -> pd.DataFrame:
    """Return a row for each exported run: its key, its file ("" where it was too large) and the file's bytes."""
    path = weights_dir(results_dir) / "index.csv"
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    index = read_csv(path, list(COLUMNS), "export the runs again")
    return index.assign(file=index["file"].astype("object").fillna(""))  # a column of no files reads as numbers


def add_to_index(results_dir: Path, row: Row) -> None:
    """Write a row into the index, in the place of another run of the same experiment and name."""
    index = read_index(results_dir)
    others = index[(index["experiment"] != row["experiment"]) | (index["name"] != row["name"])]
    rows = [*others.to_dict("records"), {column: row[column] for column in COLUMNS}]
    table = pd.DataFrame(rows).sort_values(["experiment", "name"])
    replace_file(weights_dir(results_dir) / "index.csv", table.to_csv(index=False, lineterminator="\n"))


def stem(row: Row) -> str:
    """Return the name that a run's file and card have, without its ending."""
    return f"{row['experiment']}-{row['name']}-seed{row['seed']}"


def card_texts(results_dir: Path) -> dict[Path, str]:
    """Return the cards, and the page that lists them; nothing where nothing was exported.

    Raises:
        ResultsError: An exported run is not in the committed tables, or its file is not there.
    """
    rows = read_index(results_dir).to_dict("records")
    if not rows:
        return {}
    folder = weights_dir(results_dir)
    listed, texts = [], {}
    for row in rows:
        if row["file"] and not (folder / row["file"]).exists():
            raise ResultsError(f"{folder / 'index.csv'} lists {row['file']}, which is not there; export the run again")
        run, setting = _committed(results_dir, row)
        texts[folder / f"{stem(row)}.md"] = _card(row, run, setting)
        main = schema_of(row["experiment"]).main
        listed.append(
            {"model": f"[{setting['label']}]({stem(row)}.md)"}
            | {"task": _task(row["experiment"]), "data": tables.data_name(run["source"])}
            | {"setting": _setting(run), "parameters": count(run["parameters_total"])}
            | {"reported": f"{main} {run[main]:.4g}", "file": _file(row)}
        )
    page = [_TITLE, _NOTE, markdown_table(listed)]
    return {folder / "README.md": "\n\n".join(page) + "\n"} | texts


def _committed(results_dir: Path, row: Row) -> tuple[Row, Row]:
    """Return the committed row of an exported run, and its setting averaged over all seeds."""
    runs = read_results(results_dir, row["experiment"]).runs
    runs = runs[runs["name"] == row["name"]]
    chosen = runs[runs["seed"] == row["seed"]]
    if chosen.empty:
        raise ResultsError(f"{stem(row)} was exported, but is not in {row['experiment']}.csv: collect the runs first")
    return chosen.to_dict("records")[0], summarise(runs).to_dict("records")[0]


def _task(experiment: str) -> str:
    return _TASKS[schema_of(experiment).prefix]


def _setting(run: Row) -> str:
    """Say what of data and task this run's numbers depend on."""
    said = [f"{name} {run[name]:g}" for name in schema_of(run["experiment"]).data if not isinstance(run[name], str)]
    texts = [f"{name} {run[name]}" for name in schema_of(run["experiment"]).data if isinstance(run[name], str)]
    return ", ".join([*texts, *said, f"scale {run['scale']}"]).replace("_", " ")


def _file(row: Row) -> str:
    size = f"{row['bytes'] / 1e6:.1f} MB"
    return f"[{size}]({row['file']})" if row["file"] else f"none: {size}"


def _card(row: Row, run: Row, setting: Row) -> str:
    """Write one card."""
    data = tables.data_name(run["source"])
    parts = [f"# {setting['label']}: {_task(row['experiment'])} on {data}", _NOTE, _use(row, run)]
    parts += ["## What it is", markdown_table(_facts(run, setting))]
    parts += ["## Its numbers", markdown_table(_metrics(run, setting))]
    parts += ["## Limits", "\n".join(f"- {line}" for line in _limits(run, data)), f"## Licence\n\n{_LICENCE}"]
    return "\n\n".join(parts) + "\n"


def _use(row: Row, run: Row) -> str:
    if row["file"]:
        command = f"python experiments/evaluate.py results/weights/{row['file']}"
        said = f"The numbers below, again, on the same data:\n\n```\n{command}\n```"
        if schema_of(row["experiment"]) is CAPTIONING:
            command = f"python experiments/caption.py --run results/weights/{row['file']} PICTURE..."
            said += f"\n\nCaptions of pictures of one's own:\n\n```\n{command}\n```"
        return said
    return (
        f"The weights take {row['bytes'] / 1e6:.0f} MB, more than the 10 MB that are kept. This makes them, and the "
        f"numbers below:\n\n```\n{run['command']}\npython experiments/evaluate.py "
        f"results/runs/{row['experiment']}/{row['name']}/seed{row['seed']}\n```"
    )


def _facts(run: Row, setting: Row) -> list[dict[str, str]]:
    factorised = run["model"] in ("tt_lstm", "bt_lstm")
    modes = f"; inputs {run['in_modes']}, hidden {run['hidden_modes']}" if factorised else ""
    dirty = " (uncommitted changes)" if run["git_dirty"] == "True" else ""
    facts = {
        "model": f"{setting['label']}{modes}",
        "setting": _setting(run),
        "parameters": f"{count(run['parameters_total'])}, of these {count(run['parameters_input'])} of W",
        "compression": (
            f"of W {ratio(run['parameters_dense_input'] / run['parameters_input'])}, of the whole model "
            f"{ratio(run['parameters_dense_total'] / run['parameters_total'])}"
        ),
        "examples": ", ".join(f"{count(run[f'num_{split}'])} {split}" for split in ("train", "val", "test")),
        "training": (
            f"{count(run['epochs'])} epochs at {run['learning_rate']:g}, "
            f"weights of epoch {count(run['epoch_chosen'] + 1)}"
        ),
        "command": f"`{run['command']}`",
        "commit": f"{run['git_commit'] or 'unknown'}{dirty}",
        "machine": f"{run['device']}, {run['seconds']:.0f} s",
    }
    return [{"": name, " ": text} for name, text in facts.items()]


def _metrics(run: Row, setting: Row) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for metric in schema_of(run["experiment"]).averaged:
        if not metric.startswith("test/") or pd.isna(run[metric]):
            continue
        spread = "-"
        if setting["n"] > 1:
            low, high = setting[f"{metric}_low"], setting[f"{metric}_high"]
            spread = f"{setting[metric]:.4g} ({setting['n']}) [{low:.4g}, {high:.4g}]"
        rows.append({"metric": metric, "this run": f"{run[metric]:.6g}", "all seeds: mean (n), 95 % interval": spread})
    return rows


def _limits(run: Row, data: str) -> list[str]:
    lines = ["One seed of the setting: the table gives the mean and the interval over all of them."]
    if run["stand_in"]:
        lines.insert(0, f"**Trained and tested on {data}**, not on the paper's data, of which it says nothing.")
    if run.get("protocol") == "paper":
        lines.append(
            "Protocol `paper`: clips of one group stand in training and test, and the epoch is chosen on the test "
            "split. Both flatter the accuracy."
        )
    lines.append("Made to check a method's claims, not to be used on anything else.")
    return lines
