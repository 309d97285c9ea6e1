"""A library of simulated spectra: one safetensors file, written batch by batch.

The format is safetensors' own: 8 bytes with the length of a JSON header, the header, then the tensors one after the
other, little-endian. Each tensor's place is known beforehand, so a batch is written where it belongs and memory holds
one batch however long the library. `safetensors` reads it.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import DataError, FileError, misused
from xrayflow.files import SCHEMA_VERSION, cannot_write, package_versions
from xrayflow.models import Model
from xrayflow.prior import Prior
from xrayflow.simulate.describe import MAKERS
from xrayflow.simulate.files import Instrument
from xrayflow.simulate.layout import Layout
from xrayflow.simulate.simulator import SimulatedSpectra, Simulator
from xrayflow.simulate.training_prior import TrainingPrior
from xrayflow.statistics import Systematic

BATCH = 1024
"""Spectra in memory at a time."""

MOST_ROWS = 100_000_000

_WIDE, _NARROW = "F64", "F32"
_NUMPY = {_WIDE: "<f8", _NARROW: "<f4"}


def write_library(
    out: str | Path,
    simulator: Simulator,
    rows: int,
    seed: int = 0,
    noisy: bool = True,
    progress: Callable[[str, float], None] | None = None,
) -> Path:
    """Draw spectra and write them.

    Tensors: `theta` (source, parameter), `counts`, `background`, `noticed` (source, bin), `exposure`, `area`,
    `systematic`, `rate` (source,), `first_channel`, `last_channel` (bin,), and `amplitude` (source,) where the response
    has errors; `background` and `noticed` in float32, the others in float64. The header's `xrayflow` is JSON:
    `Simulator.describe()`, rows, seed, batch, versions.

    Args:
        out: The file; an existing one is replaced when the new one is complete.
        simulator: What is drawn.
        rows: How many spectra.
        seed: The same seed gives the same file, byte for byte.
        noisy: Whether counts scatter; else they are their mean.
        progress: Called with (step, fraction).

    Raises:
        DataError: A number of rows that cannot be.
        FileError: The file cannot be written, or the disk has no room for it.
        ModelError: As `Simulator.sample`.
    """
    out = Path(out)
    if not 1 <= rows <= MOST_ROWS:
        raise misused(DataError(f"a library of {rows} spectra; give --prior-draws 1 .. {MOST_ROWS}"))
    header, places, size = _plan(simulator, rows, seed, noisy)
    handle, temporary = _reserve(out, size)
    try:
        with os.fdopen(handle, "r+b") as stream:
            stream.write(header)
            stream.truncate(size)
        target = {
            name: np.memmap(temporary, kind, "r+", offset, shape) for name, (kind, offset, shape) in places.items()
        }
        target["first_channel"][:] = simulator.first
        target["last_channel"][:] = simulator.last
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, rows, BATCH):
            batch = simulator.sample(min(BATCH, rows - start), generator)
            for name, values in _columns(batch, noisy, simulator.modes is not None).items():
                target[name][start : start + len(values)] = values
            if progress is not None:
                progress("simulating", min(start + BATCH, rows) / rows)
        for values in target.values():
            values.flush()
        del target
        temporary.chmod(0o644)
        temporary.replace(out)
    except OSError as error:
        raise cannot_write(out, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    return out


def library_simulator(
    model: Model,
    instrument: Instrument,
    changes: Iterable[str] = (),
    exposure: float | None = None,
    systematic: float | str | None = None,
) -> Simulator:
    """The simulator of a library: the model's box cut by rate, in the bins of the detector's layout.

    Args:
        model: The spectral model.
        instrument: The detector; a template gives its response alone.
        changes: Of the prior, as `Prior.of` takes them.
        exposure: s, of all spectra; None: as `TrainingPrior` draws it.
        systematic: Fraction, of all spectra; None likewise.

    Raises:
        XrayflowError: Files, prior, exposure or systematic error that cannot be.
    """
    rmf, arf = instrument.response()
    believed = Systematic.of(systematic)
    if believed.modes:
        raise DataError(
            "--systematic modes: a library holds errors that are independent in every bin; give a fraction, or fake "
            "single spectra with --theta"
        )
    training = TrainingPrior(Prior.of(model, changes))
    if exposure is not None:
        training = replace(training, exposure=(exposure, exposure))
    if systematic is not None and believed.fraction == 0.0:
        training = replace(training, without_systematic=1.0)
    elif systematic is not None:
        training = replace(training, systematic=(believed.fraction, believed.fraction), without_systematic=0.0)
    return Simulator.of(model, rmf, arf, Layout.of_detector(rmf), training)


Place = tuple[str, int, tuple[int, ...]]


def _plan(simulator: Simulator, rows: int, seed: int, noisy: bool) -> tuple[bytes, dict[str, Place], int]:
    """The header, the place of each tensor, and the size of the file."""
    bins, parameters = simulator.bins, len(simulator.model.names)
    shapes = {
        "theta": (_WIDE, (rows, parameters)),
        "counts": (_WIDE, (rows, bins)),
        "exposure": (_WIDE, (rows,)),
        "area": (_WIDE, (rows,)),
        "systematic": (_WIDE, (rows,)),
        **({} if simulator.modes is None else {"amplitude": (_WIDE, (rows,))}),
        "rate": (_WIDE, (rows,)),
        "first_channel": (_WIDE, (bins,)),
        "last_channel": (_WIDE, (bins,)),
        "background": (_NARROW, (rows, bins)),
        "noticed": (_NARROW, (rows, bins)),
    }
    described = {
        "schema_version": SCHEMA_VERSION,
        **simulator.describe(),
        "rows": rows,
        "noise": noisy,
        "seed": seed,
        "batch": BATCH,
        "versions": package_versions(*MAKERS),
    }
    table: dict[str, object] = {"__metadata__": {"format": "pt", "xrayflow": json.dumps(described)}}
    offsets, at = {}, 0
    for name, (kind, shape) in shapes.items():
        end = at + math.prod(shape) * np.dtype(_NUMPY[kind]).itemsize
        table[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, end]}
        offsets[name], at = at, end
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    places = {name: (_NUMPY[kind], begin + offsets[name], shape) for name, (kind, shape) in shapes.items()}
    return len(text).to_bytes(8, "little") + text, places, begin + at


def _reserve(out: Path, size: int) -> tuple[int, Path]:
    """A temporary file beside `out`, on a disk with room."""
    try:
        free = shutil.disk_usage(out.parent).free
        if size > free:
            raise FileError(
                f"{out}: the library takes {size / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; "
                "give fewer --prior-draws or another --out"
            )
        if out.is_dir():
            raise FileError(f"{out}: is a folder; give --out FILE")
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name[:40]}.")
    except OSError as error:
        raise cannot_write(out, error) from None
    return handle, Path(name)


def _columns(batch: SimulatedSpectra, noisy: bool, calibrated: bool) -> dict[str, NDArray[np.float64]]:
    counts = batch.counts if noisy else batch.expected + batch.background
    tensors = {
        "theta": batch.theta,
        "counts": counts,
        "background": batch.background,
        "noticed": batch.noticed,
        "exposure": batch.exposure,
        "area": batch.area,
        "systematic": batch.systematic,
        **({"amplitude": batch.amplitude} if calibrated else {}),
        "rate": batch.rate,
    }
    return {name: values.numpy() for name, values in tensors.items()}
