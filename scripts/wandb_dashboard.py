"""Save this project's views in W&B: the curves of the three models, the sweep of d, R and N, pictures and captions.

    wandb login                                        # once
    python scripts/wandb_dashboard.py                  # saves the views, prints their addresses
    python scripts/wandb_dashboard.py --dry-run        # prints what would be saved; needs no account

Runs reach W&B with WANDB_MODE=online, or by `wandb sync`. Each call makes new views; old ones stay.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import wandb
import wandb_workspaces.reports.v2.interface as panels
import wandb_workspaces.workspaces as workspaces
from wandb_workspaces.workspaces import Workspace

from btrnn.engine.command import exit_status
from btrnn.engine.config import ConfigError

PROJECT = "btrnn"


class Section(NamedTuple):
    """What is shown of the runs of one task.

    title: As it stands in the views' names.
    curves: Metrics by epoch.
    outcome: The metric of the test split, at the end of the parallel coordinates.
    """

    title: str
    curves: tuple[str, ...]
    outcome: str


SECTIONS = {  # by the configuration's `section`
    "video": Section(
        "action recognition", ("train/loss", "val/loss", "train/accuracy", "val/accuracy"), "test/accuracy"
    ),
    "generation": Section(
        "image generation", ("train/nll_bound", "val/nll_bound", "val/reconstruction", "val/kl"), "test/nll_bound"
    ),
    "captioning": Section("image captioning", ("train/loss", "val/loss"), "test/cider"),
}
_SWEPT = ("order", "rank", "num_blocks", "parameters_input")
_LOGARITHMIC = ("parameters_input",)
_PICTURES = ("test/samples", "test/canvases", "test/reconstructions")
_CAPTIONS = "test/captions"


def main(arguments: Sequence[str] | None = None) -> None:
    """Save the views, or print their specification.

    Raises:
        ConfigError: They cannot be saved: nobody is logged in, or it is not known for whom.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entity", help="the account or team (default: that of the login)")
    parser.add_argument("--project", default=PROJECT, help="(default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="print the specification as JSON, save nothing")
    options = parser.parse_args(arguments)
    if options.dry_run:
        views = make_views(options.entity or "ENTITY", options.project)
        print(json.dumps({view.name: view._spec["spec"] for view in views}, indent=2))
        return
    if not wandb.api.api_key:
        raise ConfigError("not logged in to W&B: run `wandb login` first, or see the views with --dry-run")
    entity = options.entity or wandb.Api().default_entity
    if not entity:
        raise ConfigError("this login has no default account or team: name one with --entity")
    for view in make_views(entity, options.project):
        view.save()  # prints the address


def make_views(entity: str, project: str) -> list[Workspace]:
    """Return the views, unsaved: of each task its curves and what d, R and N do, and all pictures and captions."""
    is_trained = workspaces.Metric("JobType") == "train"
    views = []
    for name, section in SECTIONS.items():
        filters = [is_trained, workspaces.Config("section.value") == name]  # as W&B stores it
        grouped = workspaces.RunsetSettings(
            filters=filters, groupby=[workspaces.Metric("Group"), workspaces.Config("model.name")]
        )
        curves = _section("Loss curves", [_curve(metric) for metric in section.curves])
        sweep = _section("Order d, rank R, blocks N", [_parallel_coordinates(section.outcome)], columns=1)
        views += [
            Workspace(entity, project, f"Loss curves: {section.title}", [curves], runset_settings=grouped),
            Workspace(
                entity,
                project,
                f"Order, rank and blocks: {section.title}",
                [sweep],
                runset_settings=workspaces.RunsetSettings(filters=filters),
            ),
        ]
    trained = workspaces.RunsetSettings(filters=[is_trained])
    return [*views, Workspace(entity, project, "Pictures and captions", _media_sections(), runset_settings=trained)]


def _section(title: str, shown: list[Any], columns: int = 3) -> workspaces.Section:
    layout = workspaces.SectionLayoutSettings(columns=columns, rows=1 if columns == 1 else 2)
    return workspaces.Section(title, shown, is_open=True, pinned=True, layout_settings=layout)


def _curve(metric: str) -> panels.LinePlot:
    """Draw a metric against the epoch: a line for each model, its band from the lowest to the highest run."""
    return panels.LinePlot(
        title=metric,
        x="epoch",
        y=[metric],
        groupby=panels.Config("model.name"),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
    )


def _parallel_coordinates(outcome: str) -> panels.ParallelCoordinatesPlot:
    columns = [
        panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric(name), log=name in _LOGARITHMIC)
        for name in (*_SWEPT, outcome)
    ]
    return panels.ParallelCoordinatesPlot(title="What d, R and N do", columns=columns)


def _media_sections() -> list[workspaces.Section]:
    captions = panels.WeavePanelSummaryTable(table_name=_CAPTIONS)  # a table of images and texts
    return [_section("Digits", [_pictures(key) for key in _PICTURES]), _section("Captions", [captions])]


def _pictures(key: str) -> panels.MediaBrowser:
    return panels.MediaBrowser(title=key, media_keys=[key])


if __name__ == "__main__":
    sys.exit(exit_status(main, ConfigError, OSError, wandb.Error))
