"""What all tests share: where the real spectra are."""

from __future__ import annotations

import os
from pathlib import Path

# before torch is loaded, as the command line does it: a second thread mostly spins, and answers depend on the number
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# CI draws the same examples each time, so that it fails for a change and not for a roll of the dice
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")

REPOSITORY = Path(__file__).resolve().parents[1]


def spectra_folder() -> Path:
    """The folder of real spectra: `XRAYFLOW_TEST_DATA`, else `../shared/data` beside the repository."""
    return Path(os.environ.get("XRAYFLOW_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real spectra; the test skips where they are absent."""
    folder = spectra_folder()
    if not folder.is_dir():
        pytest.skip(f"no real spectra at {folder}")
    return folder


@pytest.fixture(scope="session")
def cases_folder(data_folder: Path) -> Path:
    """Small inputs on which the program was wrong once, beside the real spectra; the test skips without them."""
    folder = data_folder.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """On CI, where the real spectra are, nothing may be skipped: a skipped test there is a test that nobody runs."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and spectra_folder().is_dir() and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says why the run failed although no test did."""
    if os.environ.get("CI") == "true" and spectra_folder().is_dir() and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line(f"CI: skipped tests count as failures, the real spectra are at {spectra_folder()}")
