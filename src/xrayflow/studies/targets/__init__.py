"""TARGETS: best fits of an archive, as a library that networks learn from."""

from xrayflow.studies.targets.library import Target, Targets, write_targets
from xrayflow.studies.targets.targets import GroupBy, TargetsConfig, find_targets, group_of

__all__ = [
    "GroupBy",
    "Target",
    "Targets",
    "TargetsConfig",
    "find_targets",
    "group_of",
    "write_targets",
]
