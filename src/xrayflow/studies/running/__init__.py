"""RUNNING: many spectra in batches of one matrix, in processes that may die, with a ledger that loses nothing."""

from xrayflow.studies.running.batching import BATCH, STOPPING, Run, Standing, Told, Workers, keep_rows
from xrayflow.studies.running.children import Children
from xrayflow.studies.running.cluster import Cluster
from xrayflow.studies.running.inline import Inline
from xrayflow.studies.running.ledger import AGAIN, SUFFIX, Kept, Ledger
from xrayflow.studies.running.listing import Listing, key_of, make_listing
from xrayflow.studies.running.load import Done
from xrayflow.studies.running.looking import TOGETHER, Looked, Looking, hash_of, look_at, read_looked
from xrayflow.studies.running.outcome import FAILED, Outcome
from xrayflow.studies.running.remembered import Given, given_files
from xrayflow.studies.running.sources import Reader, Source, listed_sources, matched, read_list
from xrayflow.studies.running.stopping import stopping_at_signals
from xrayflow.studies.running.whole import finished

__all__ = [
    "AGAIN",
    "BATCH",
    "FAILED",
    "STOPPING",
    "SUFFIX",
    "TOGETHER",
    "Children",
    "Cluster",
    "Done",
    "Given",
    "Inline",
    "Kept",
    "Ledger",
    "Listing",
    "Looked",
    "Looking",
    "Outcome",
    "Reader",
    "Run",
    "Source",
    "Standing",
    "Told",
    "Workers",
    "finished",
    "given_files",
    "hash_of",
    "keep_rows",
    "key_of",
    "listed_sources",
    "look_at",
    "make_listing",
    "matched",
    "read_list",
    "read_looked",
    "stopping_at_signals",
]
