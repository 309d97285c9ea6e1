"""Command lines run in this process, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from xrayflow import cli


class Ran(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *verb: str, columns: int = 80) -> Run:
    """Runs a command line in this process.

    Args:
        capsys, monkeypatch: Of the test.
        verb: Before the arguments of every call.
        columns: Width of the terminal.
    """
    monkeypatch.setenv("COLUMNS", str(columns))

    def call(*arguments: object) -> Ran:
        code = cli.run([*verb, *(str(argument) for argument in arguments)])
        return Ran(code, *capsys.readouterr())

    return call
