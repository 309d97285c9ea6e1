"""What every result says of its making: by what, when, where, of which commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent


def provenance(script: str) -> dict[str, Any]:
    """The first entries of a result.

    Args:
        script: `__file__` of the benchmark.
    """
    threads = torch.get_num_threads()
    return {
        "made_by": f"benchmarks/{Path(script).name}",
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "commit": commit(),
    }


def processor() -> str:
    """Its name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit that was measured, marked where the tree differs from it; results of other benchmarks do not count."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":(exclude,top){HERE.name}/results")
    return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
