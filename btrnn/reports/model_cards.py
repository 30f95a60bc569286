"""Model cards of the exported weights: what each is, its numbers, its command, its limits. No torch.

results/weights/index.csv lists what was exported; the cards are made of it and of the committed tables.
"""

from pathlib import Path

import pandas as pd

from btrnn.reports.format import data_name, value_text
from btrnn.reports.render import render
from btrnn.results.schema import CAPTIONING, GENERATION, VIDEO, model_of, schema_of
from btrnn.results.store import read_results
from btrnn.results.summary import summarise
from btrnn.storage.files import LARGEST_BYTES, ResultsError, read_index, stem, weights_dir

_TASKS = {VIDEO: "action recognition", GENERATION: "image generation by DRAW", CAPTIONING: "image captioning"}


def card_texts(results_dir: Path) -> dict[Path, str]:
    """Return the cards, and the page that lists them; nothing where nothing was exported.

    Raises:
        ResultsError: An exported run is not in the committed tables, or its file is not there.
    """
    cards, texts, folder = [], {}, weights_dir(results_dir)
    for row in read_index(results_dir).to_dict("records"):
        if row["file"] and not (folder / row["file"]).exists():
            raise ResultsError(f"{folder / 'index.csv'} lists {row['file']}, which is not there; export the run again")
        schema, runs = schema_of(row["experiment"]), read_results(results_dir, row["experiment"]).runs
        runs = runs[runs["name"] == row["name"]]
        if row["seed"] not in set(runs["seed"]):
            raise ResultsError(
                f"{stem(row)} was exported, but is not in {row['experiment']}.csv: collect the runs first"
            )
        run = runs[runs["seed"] == row["seed"]].iloc[0].to_dict()
        settings = {name.replace("_", " "): value_text(run[name]) for name in (*schema.data, "scale")}
        card = {
            "exported": row,
            "run": run,
            "mean": summarise(runs).iloc[0].to_dict(),
            "stem": stem(row),
            "task": _TASKS[schema],
            "data": data_name(run["source"]),
            "setting": ", ".join(f"{name} {said}" for name, said in settings.items()),
            "main": schema.main,
            "metrics": [name for name in schema.averaged if name.startswith("test/") and not pd.isna(run[name])],
            "captions": schema is CAPTIONING,
            "factorised": bool(model_of(run["model"]).shape),
        }
        cards.append(card)
        texts[Path("weights", f"{stem(row)}.md")] = render("model_card", largest=LARGEST_BYTES, **card) + "\n"
    page = {Path("weights/README.md"): render("model_cards", cards=cards) + "\n"}
    return page | texts if cards else {}
