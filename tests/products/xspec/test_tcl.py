"""The script for XSPEC's prompt, in a real Tcl with a false XSPEC and a false xrayflow around it."""

from __future__ import annotations

import tkinter
from pathlib import Path

import pytest

from xrayflow.data import bundled_tcl

FALSE = """#!/bin/sh
echo "$@" > told.txt
out=$(echo "$@" | sed 's/.*--out //; s/ .*//')
mkdir -p "$out"
if [ {code} -ne 1 ]; then touch "$out/chain.fits" "$out/model.xcm"; fi
exit {code}
"""


class Prompt:
    """XSPEC's prompt: its own commands note what they were told."""

    def __init__(self) -> None:
        self.tcl = tkinter.Tcl()
        self.told: list[str] = []
        self.said: list[str] = []
        self.tcl.createcommand("unknown", lambda *words: self.told.append(" ".join(words)))
        self.tcl.createcommand("puts", lambda *words: self.said.append(words[-1]))
        for name in ("save", "chain"):
            self.tcl.createcommand(name, lambda *words, name=name: self.told.append(" ".join([name, *words])))
        self.tcl.eval(f"source {{{bundled_tcl()}}}")


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prompt:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = Prompt()
    found.tcl.eval(f"cd {{{tmp_path}}}")
    found.tcl.eval(f"set env(PATH) {{{tmp_path}:/usr/bin:/bin}}")
    return found


def pretend(folder: Path, code: int) -> None:
    """A program xrayflow that ends with a code."""
    program = folder / "xrayflow"
    program.write_text(FALSE.replace("{code}", str(code)))
    program.chmod(0o755)


def test_a_spectrum_is_fitted_and_loaded(prompt: Prompt, tmp_path: Path) -> None:
    pretend(tmp_path, 0)
    prompt.tcl.eval("xrayflow source.pha --model TBabs*powerlaw --out there")
    assert (tmp_path / "told.txt").read_text() == "fit source.pha --model TBabs*powerlaw --out there\n"
    assert prompt.told == ["chain clear", "@there/model.xcm", "chain load there/chain.fits"]
    assert prompt.said == []


def test_the_loaded_session_is_fitted_where_no_spectrum_is_named(prompt: Prompt, tmp_path: Path) -> None:
    pretend(tmp_path, 0)
    prompt.tcl.eval("xrayflow --systematic 0")
    session = prompt.told[0].removeprefix("save all ")
    assert session.startswith("xrayflow-session-")
    told = (tmp_path / "told.txt").read_text()
    assert told == f"fit --xcm {session} --systematic 0 --out xrayflow-result\n"
    assert prompt.told[1:] == [
        "chain clear",
        "@xrayflow-result/model.xcm",
        "chain load xrayflow-result/chain.fits",
    ]


def test_an_answer_that_is_not_to_be_trusted_is_loaded_with_a_word(prompt: Prompt, tmp_path: Path) -> None:
    pretend(tmp_path, 3)
    prompt.tcl.eval("xrayflow source.pha")
    assert len(prompt.told) == 3
    assert prompt.said == ["xrayflow: the verdict is do-not-trust; the fit is loaded all the same"]


def test_an_error_loads_nothing_not_even_an_old_answer(prompt: Prompt, tmp_path: Path) -> None:
    pretend(tmp_path, 0)
    prompt.tcl.eval("xrayflow source.pha")
    prompt.told.clear()
    pretend(tmp_path, 1)
    prompt.tcl.eval("xrayflow other.pha")
    assert prompt.told == []
    assert not (tmp_path / "xrayflow-result" / "chain.fits").exists()


def test_a_program_that_is_not_there_is_told(prompt: Prompt) -> None:
    prompt.tcl.eval("set env(PATH) /nowhere")
    prompt.tcl.eval("xrayflow source.pha")
    assert prompt.told == []
    assert "cannot be run" in prompt.said[0]
