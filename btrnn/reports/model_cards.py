"""Model cards of the exported weights: what each is, its numbers, its command, its limits. No torch.

results/weights/index.csv lists what was exported; the cards are made of it and of the committed tables.
"""

from pathlib import Path

import pandas as pd

from btrnn.reports.format import count, markdown_table
from btrnn.reports.render import render
from btrnn.reports.tables import data_name
from btrnn.results.schema import CAPTIONING, GENERATION, VIDEO, model_of, schema_of
from btrnn.results.store import read_results
from btrnn.results.summary import Row, summarise
from btrnn.storage.files import LARGEST_BYTES, ResultsError, read_index, stem, weights_dir

_TASKS = {VIDEO: "action recognition", GENERATION: "image generation by DRAW", CAPTIONING: "image captioning"}


def card_texts(results_dir: Path) -> dict[Path, str]:
    """Return the cards, and the page that lists them; nothing where nothing was exported.

    Raises:
        ResultsError: An exported run is not in the committed tables, or its file is not there.
    """
    listed, texts = [], {}
    for row in read_index(results_dir).to_dict("records"):
        if row["file"] and not (weights_dir(results_dir) / row["file"]).exists():
            index = weights_dir(results_dir) / "index.csv"
            raise ResultsError(f"{index} lists {row['file']}, which is not there; export the run again")
        run, setting = _committed(results_dir, row)
        schema, size = schema_of(row["experiment"]), f"{row['bytes'] / 1e6:.1f} MB"
        listed.append(
            {"model": f"[{setting['label']}]({stem(row)}.md)", "task": _TASKS[schema]}
            | {"data": data_name(run["source"]), "setting": _setting(run), "parameters": count(run["parameters_total"])}
            | {"reported": f"{schema.main} {run[schema.main]:.4g}"}
            | {"file": f"[{size}]({row['file']})" if row["file"] else f"none: {size}"}
        )
        card = render(
            "model_card",
            exported=row,
            run=run,
            label=setting["label"],
            task=_TASKS[schema],
            data=data_name(run["source"]),
            largest=LARGEST_BYTES,
            captions=schema is CAPTIONING,
            factorised=bool(model_of(run["model"]).shape),
            setting=_setting(run),
            metrics=[name for name in schema.averaged if name.startswith("test/") and not pd.isna(run[name])],
            mean=setting,
        )
        texts[Path("weights") / f"{stem(row)}.md"] = card + "\n"
    page = {Path("weights/README.md"): render("model_cards", table=markdown_table(listed)) + "\n"}
    return page | texts if listed else {}


def _committed(results_dir: Path, row: Row) -> tuple[Row, Row]:
    """Return the committed row of an exported run, and its setting averaged over all seeds."""
    runs = read_results(results_dir, row["experiment"]).runs
    runs = runs[runs["name"] == row["name"]]
    chosen = runs[runs["seed"] == row["seed"]]
    if chosen.empty:
        raise ResultsError(f"{stem(row)} was exported, but is not in {row['experiment']}.csv: collect the runs first")
    return chosen.to_dict("records")[0], summarise(runs).to_dict("records")[0]


def _setting(run: Row) -> str:
    """Write what of data and task this run's numbers depend on, texts first."""
    columns = sorted(schema_of(run["experiment"]).data, key=lambda name: not isinstance(run[name], str))
    said = [f"{name} {run[name] if isinstance(run[name], str) else f'{run[name]:g}'}" for name in columns]
    return ", ".join([*said, f"scale {run['scale']}"]).replace("_", " ")
