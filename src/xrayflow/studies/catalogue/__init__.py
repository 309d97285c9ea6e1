"""CATALOGUE: many spectra on disk: a table of their posteriors, or best fits as targets that networks learn from."""

from xrayflow.studies.catalogue.alarm import RATE, Alarm, alarms_of
from xrayflow.studies.catalogue.batching import Run, Standing, Told, Workers, keep_rows
from xrayflow.studies.catalogue.catalogue import Catalogue, Running, fit_catalogue, run_catalogue
from xrayflow.studies.catalogue.children import Children
from xrayflow.studies.catalogue.fitting import Fitting
from xrayflow.studies.catalogue.inline import Inline
from xrayflow.studies.catalogue.ledger import Ledger
from xrayflow.studies.catalogue.library import Target, Targets, write_targets
from xrayflow.studies.catalogue.listing import Listing, make_listing
from xrayflow.studies.catalogue.manifest import manifest_path, read_manifest
from xrayflow.studies.catalogue.page import SpectrumReader, catalogue_page
from xrayflow.studies.catalogue.pictures import catalogue_figures
from xrayflow.studies.catalogue.prospect import Prospect, prospect_of
from xrayflow.studies.catalogue.question import Question
from xrayflow.studies.catalogue.reading import USABLE, CatalogueTable, read_catalogue, read_draws, read_model
from xrayflow.studies.catalogue.sources import Progress, Reader, Source, batches, listed_sources, matched, read_list
from xrayflow.studies.catalogue.targets import GroupBy, TargetsConfig, find_targets, group_of
from xrayflow.studies.catalogue.watch import PATTERNS, Round, Watch, Watched, rounds

__all__ = [
    "PATTERNS",
    "RATE",
    "USABLE",
    "Alarm",
    "Catalogue",
    "CatalogueTable",
    "Children",
    "Fitting",
    "GroupBy",
    "Inline",
    "Ledger",
    "Listing",
    "Progress",
    "Prospect",
    "Question",
    "Reader",
    "Round",
    "Run",
    "Running",
    "Source",
    "SpectrumReader",
    "Standing",
    "Target",
    "Targets",
    "TargetsConfig",
    "Told",
    "Watch",
    "Watched",
    "Workers",
    "alarms_of",
    "batches",
    "catalogue_figures",
    "catalogue_page",
    "find_targets",
    "fit_catalogue",
    "group_of",
    "keep_rows",
    "listed_sources",
    "make_listing",
    "manifest_path",
    "matched",
    "prospect_of",
    "read_catalogue",
    "read_draws",
    "read_list",
    "read_manifest",
    "read_model",
    "rounds",
    "run_catalogue",
    "write_targets",
]
