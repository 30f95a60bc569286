"""The first lines of README and of the claims: models that were given the same search for the rate, on real video."""

from pathlib import Path
from typing import Any

from btrnn.reports.page import outcomes
from btrnn.reports.pages import page_of
from btrnn.reports.render import render
from btrnn.reports.view import view_of
from btrnn.results.schema import BT_LSTM
from btrnn.results.store import collected_experiments

STUDIES = ("ucf101_rates", "ucf101_rates_raw")
FIGURE = Path("figures", f"{STUDIES[0]}.png")


def headline(results_dir: Path, place: str = "") -> str:
    """Return the lines, "" where the studies are not collected.

    Args:
        results_dir: Where the rows are.
        place: What leads from the page to `results_dir`, with a slash at its end.
    """
    if not set(STUDIES) <= set(collected_experiments(results_dir)):
        return ""
    return render("headline", studies=[_study(results_dir, name) for name in STUDIES], place=place)


def _study(results_dir: Path, name: str) -> dict[str, Any]:
    page, view = page_of(name), view_of(results_dir, name)
    compared = page.differences(view)
    found = outcomes(compared[compared["first_model"] == BT_LSTM.name], page)
    values = page.values(view)
    return {"name": name, "data": view.data, "ours": found[0], "input": view.first["scaling"]} | values
