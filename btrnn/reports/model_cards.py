"""Model cards of the exported weights: what each is, its numbers, its command, its limits. No torch.

results/weights/index.csv lists what was exported; the cards are made of it and of the committed tables.
"""

from pathlib import Path

from btrnn.reports.render import render, setting_text
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
    cards, folder = [], weights_dir(results_dir)
    for row in read_index(results_dir).to_dict("records"):
        if row["file"] and not (folder / row["file"]).exists():
            raise ResultsError(f"{folder / 'index.csv'} lists {row['file']}, which is not there; export the run again")
        schema, runs = schema_of(row["experiment"]), read_results(results_dir, row["experiment"]).runs
        runs = runs[runs["name"] == row["name"]]
        if row["seed"] not in set(runs["seed"]):
            raise ResultsError(f"{stem(row)} was exported, but is not in {row['experiment']}.csv: collect the runs")
        run = runs[runs["seed"] == row["seed"]].iloc[0].to_dict()
        card = {"exported": row, "stem": stem(row), "schema": schema, "task": _TASKS[schema], "run": run}
        card |= {"mean": summarise(runs).iloc[0].to_dict(), "factorised": bool(model_of(run["model"]).shape)}
        cards.append(card | {"setting": ", ".join(setting_text(name, run[name]) for name in (*schema.data, "scale"))})
    texts = {card["stem"]: render("model_card", largest=LARGEST_BYTES, **card) for card in cards}
    pages = {"README": render("model_cards", cards=cards)} | texts if cards else {}
    return {Path("weights", f"{name}.md"): f"{text}\n" for name, text in pages.items()}
