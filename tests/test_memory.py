"""Memory that is freed stays with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

FAULTS = """
import resource
import numpy as np
from xrayflow.memory import keep_freed_memory
{ask}

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    np.ones(2**20)
before = faults()
for _ in range(50):
    np.ones(2**20), np.ones(2**20), np.ones(2**20)
print(faults() - before)
"""


def _run(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_pages_are_not_asked_for_again() -> None:
    if platform.libc_ver()[0] != "glibc":
        assert _run("from xrayflow.memory import keep_freed_memory; print(keep_freed_memory())") == "False"
        return
    asked, left = (int(_run(FAULTS.format(ask=ask))) for ask in ("assert keep_freed_memory()", ""))
    assert 5 * asked < left


def test_the_users_own_settings_stand() -> None:
    code = "from xrayflow.memory import keep_freed_memory; print(keep_freed_memory())"
    assert _run(code, MALLOC_ARENA_MAX="2") == "False"
