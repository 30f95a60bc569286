"""What of a command line a run's name says, so that no two runs that differ in what they find share a folder."""

from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

# Where a run computes, reads and writes changes nothing in what it finds. Nor does what is looked up: what was found
# there stands in `task`, `model`, `data` and `trainer`.
NOT_SCIENCE = (
    *("dataset", "rates", "follows", "optimizer", "modes", "cell", "ranks", "scale"),
    *("results_dir", "data_dir", "run_dir", "logger", "tags", "resume_every_seconds"),
    *("data.root", "data.cache_dir", "data.on_device", "trainer.enable_progress_bar"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.graph"),
)
# What the run's name already says, so that it need not be said again by the list of overrides. Most experiments' names
# say the data as well.
_NAMED = (
    *("experiment", "name", "seed", "task", "model", "scale", "data.protocol", "data.fold", "data.scaling"),
    *("task.network.num_glimpses", "optimizer.scaled"),
    *("ranks.tucker", "ranks.num_blocks", "ranks.tensor_train"),
)
# Input and hidden modes that a name says by their order alone: those that experiments have where nothing is said of
# them, and others under whose order runs were published.
_USUAL_MODES = {
    *(((320, 180), (16, 16)), ((36, 40, 40), (8, 4, 8)), ((8, 20, 20, 18), (4, 4, 4, 4))),
    *(((8, 10, 10, 9, 8), (4, 2, 2, 4, 4)), ((4, 2, 5, 8, 6, 5, 3, 2), (4, 4, 2, 4, 2))),
    *(((4, 4, 4, 5), (4, 4, 4, 4)), ((7, 7, 16, 20), (4, 4, 4, 4))),
    *(((8, 3, 4, 19), (4, 4, 4, 4)), ((2, 4, 3, 11), (4, 4, 4, 4)), ((8, 8, 8), (8, 8, 8))),
}


def variant(*, _root_: DictConfig) -> str:
    """List the overrides of this job that change the science and that the name does not say by itself."""
    if not HydraConfig.initialized():
        return ""
    changes, written = set(), cast("dict[str, str]", OmegaConf.to_container(_root_, resolve=False))
    said = (*NOT_SCIENCE, *_NAMED, *(["data"] if "dataset.suffix" in written["experiment"] else []))
    for override in HydraConfig.get().overrides.task:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "modes":
            shape = (tuple(_root_.modes.input), tuple(_root_.modes.hidden))
            if shape not in _USUAL_MODES:
                changes.add("modes={}-{}".format(*("x".join(map(str, modes)) for modes in shape)))
        elif key.split(".")[0] != "logger" and (key not in said or value.startswith("{")):
            changes.add(override)  # a mapping changes keys below its own, which the name does not say
    return "".join(f",{change}".replace("/", "_") for change in sorted(changes))
