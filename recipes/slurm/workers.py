"""A Dask scheduler with workers that are SLURM jobs, for `xrayflow catalogue --scheduler scheduler.json`.

    pip install 'xrayflow[cluster]'
    python workers.py --jobs 16 --queue long --dry-run      (prints the job's script, submits nothing)
    python workers.py --jobs 16 --queue long &              (on the login node, in tmux; stays until it is ended)
    xrayflow catalogue --list archive.fits --out table.fits --scheduler scheduler.json

A job is a node's share: so many Dask workers, each of one thread with a fitting process beside it. A job that reaches
its time limit loses the batches it was at to the others; ends and begins of jobs do not matter to the catalogue. The
folder must be one that all nodes see.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from dask_jobqueue import SLURMCluster

GIGABYTES = 3
"""For each worker: a fitting process of NICER spectra in batches of 24 takes 1.1, a Dask worker .3 beside it."""


def cluster_of(options: argparse.Namespace) -> SLURMCluster:
    """The scheduler; no job is submitted yet.

    Args:
        options: Of the command line.
    """
    return SLURMCluster(
        queue=options.queue,
        account=options.account,
        cores=options.each,
        processes=options.each,
        memory=f"{GIGABYTES * options.each} GB",
        walltime=options.time,
        job_script_prologue=["export OMP_NUM_THREADS=1"],
        local_directory=options.scratch,
        scheduler_options={"dashboard_address": ":0"},
    )


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """The command line.

    Args:
        words: Instead of the program's own.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--each", type=int, default=16, help="workers of a job, one core each")
    parser.add_argument("--time", default="04:00:00", help="of a job")
    parser.add_argument("--queue", default=None)
    parser.add_argument("--account", default=None)
    parser.add_argument("--scratch", default=None, help="a folder of the node's own disk")
    parser.add_argument("--file", type=Path, default=Path("scheduler.json"), help="where the address is written")
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args(words)


def main() -> None:
    """Print the script, or submit and stay."""
    options = parsed()
    with cluster_of(options) as cluster:
        if options.dry_run:
            print(cluster.job_script())
            return
        cluster.scale(jobs=options.jobs)
        with cluster.get_client() as client:
            client.write_scheduler_file(str(options.file))
        print(f"{options.jobs} jobs of {options.each} workers: --scheduler {options.file}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
