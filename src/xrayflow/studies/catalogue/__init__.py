"""CATALOGUE: an archive as a table of posteriors, and what becomes of it: pictures, a page, a watch with alarms."""

from xrayflow.studies.catalogue.alarm import RATE, Alarm, alarms_of
from xrayflow.studies.catalogue.catalogue import Catalogue, Running, fit_catalogue, run_catalogue
from xrayflow.studies.catalogue.fitting import Fitting
from xrayflow.studies.catalogue.manifest import manifest_path, read_manifest
from xrayflow.studies.catalogue.page import catalogue_page
from xrayflow.studies.catalogue.pictures import catalogue_figures
from xrayflow.studies.catalogue.prospect import Prospect, prospect_of
from xrayflow.studies.catalogue.question import COMPUTE, Question
from xrayflow.studies.catalogue.reading import USABLE, CatalogueTable, read_catalogue, read_draws, read_model
from xrayflow.studies.catalogue.small_spectra import SpectrumReader
from xrayflow.studies.catalogue.watch import PATTERNS, Round, Watch, Watched, rounds

__all__ = [
    "COMPUTE",
    "PATTERNS",
    "RATE",
    "USABLE",
    "Alarm",
    "Catalogue",
    "CatalogueTable",
    "Fitting",
    "Prospect",
    "Question",
    "Round",
    "Running",
    "SpectrumReader",
    "Watch",
    "Watched",
    "alarms_of",
    "catalogue_figures",
    "catalogue_page",
    "fit_catalogue",
    "manifest_path",
    "prospect_of",
    "read_catalogue",
    "read_draws",
    "read_manifest",
    "read_model",
    "rounds",
    "run_catalogue",
]
