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

import wandb
import wandb_workspaces.reports.v2.interface as panels
import wandb_workspaces.workspaces as workspaces
from wandb_workspaces.workspaces import Section, Workspace

PROJECT = "btrnn"
_CURVES = {
    "Action recognition": ("train/loss", "val/loss", "train/accuracy", "val/accuracy"),
    "Image generation": ("train/nll_bound", "val/nll_bound", "val/reconstruction", "val/kl"),
    "Image captioning": ("train/loss", "val/loss"),
}
_SWEPT = ("order", "rank", "num_blocks", "parameters_input", "test/accuracy", "test/nll_bound", "test/cider")
_LOGARITHMIC = ("parameters_input",)
_PICTURES = ("test/samples", "test/canvases", "test/reconstructions")
_CAPTIONS = "test/captions"


def main(arguments: Sequence[str] | None = None) -> None:
    """Save the views, or print their specification."""
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
        sys.exit("not logged in to W&B: run `wandb login` first, or see the views with --dry-run")
    for view in make_views(options.entity or str(wandb.Api().default_entity), options.project):
        view.save()  # prints the address


def make_views(entity: str, project: str) -> list[Workspace]:
    """Return the three views, unsaved."""
    trained = workspaces.RunsetSettings(filters=[workspaces.Metric("JobType") == "train"])
    grouped = workspaces.RunsetSettings(
        filters=[workspaces.Metric("JobType") == "train"],
        groupby=[workspaces.Metric("Group"), workspaces.Config("model.name")],
    )
    return [
        Workspace(entity, project, "Loss curves of the three models", _curve_sections(), runset_settings=grouped),
        Workspace(entity, project, "Order, rank and blocks", [_sweep_section()], runset_settings=trained),
        Workspace(entity, project, "Pictures and captions", _media_sections(), runset_settings=trained),
    ]


def _curve_sections() -> list[Section]:
    return [
        Section(task, [_curve(metric) for metric in metrics], is_open=True, pinned=True)
        for task, metrics in _CURVES.items()
    ]


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


def _sweep_section() -> Section:
    columns = [
        panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric(name), log=name in _LOGARITHMIC) for name in _SWEPT
    ]
    plot = panels.ParallelCoordinatesPlot(title="What d, R and N do", columns=columns)
    layout = workspaces.SectionLayoutSettings(columns=1, rows=1)
    return Section("Order d, rank R, blocks N", [plot], is_open=True, pinned=True, layout_settings=layout)


def _media_sections() -> list[Section]:
    captions = panels.WeavePanelSummaryTable(table_name=_CAPTIONS)  # a table of images and texts
    return [
        Section("Digits", [_pictures(key) for key in _PICTURES], is_open=True, pinned=True),
        Section("Captions", [captions], is_open=True, pinned=True),
    ]


def _pictures(key: str) -> panels.MediaBrowser:
    return panels.MediaBrowser(title=key, media_keys=[key])


if __name__ == "__main__":
    main()
