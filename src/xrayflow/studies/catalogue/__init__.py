"""CATALOGUE: many spectra on disk, and their best fits as targets that networks learn from."""

from xrayflow.studies.catalogue.library import PARTIAL, Target, Targets, read_partial, write_targets
from xrayflow.studies.catalogue.sources import Progress, Reader, Source, batches, listed_sources, matched, read_list
from xrayflow.studies.catalogue.targets import GroupBy, TargetsConfig, find_targets, group_of

__all__ = [
    "PARTIAL",
    "GroupBy",
    "Progress",
    "Reader",
    "Source",
    "Target",
    "Targets",
    "TargetsConfig",
    "batches",
    "find_targets",
    "group_of",
    "listed_sources",
    "matched",
    "read_list",
    "read_partial",
    "write_targets",
]
