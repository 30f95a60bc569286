"""Classes that earlier versions had under other names, so that the configurations of their runs can still be read."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

RENAMED = {  # a `_target_` that stands in run folders and files of weights: what it is called now
    "btrnn.data.video.dataset.UCF11": "btrnn.data.video.dataset.VideoClips",
    "btrnn.data.captions.coco.COCO": "btrnn.data.captions.coco.CaptionedImages",
}


def with_current_names(config: DictConfig) -> DictConfig:
    """Return a saved configuration in which each `_target_` is called as it is now; references stay unresolved."""
    return DictConfig(_renamed(OmegaConf.to_container(config, resolve=False)))


def _renamed(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _current(child) if key == "_target_" else _renamed(child) for key, child in node.items()}
    return [_renamed(child) for child in node] if isinstance(node, list) else node


def _current(target: Any) -> Any:
    return RENAMED.get(target, target) if isinstance(target, str) else target
