"""Which page shows which experiment."""

from btrnn.reports import captioning, generation, rate_curves, sensitivity, video
from btrnn.reports.page import Page
from btrnn.results.schema import schema_of

_STUDIES = {
    video.RATE_CURVES: rate_curves.PAGE,
    "ucf101_rates": rate_curves.PAGE,
    "ucf11_sensitivity": sensitivity.PAGE,
}
_TASKS = {"ucf11": video.PAGE, "draw": generation.PAGE, "captioning": captioning.PAGE}  # by `Schema.prefix`


def page_of(experiment: str) -> Page:
    """Return the page of an experiment.

    Raises:
        ResultsError: Its name does not begin with that of a task.
    """
    for name, page in _STUDIES.items():
        if experiment == name or experiment.startswith(f"{name}_"):
            return page
    return _TASKS[schema_of(experiment).prefix]
