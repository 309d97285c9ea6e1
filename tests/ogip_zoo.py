"""Small made-up spectra and responses: quick, realistic in form, and with every quirk that real files show.

A detector of 120 channels of 0.1 keV sees 150 photon-energy bins from 0.2 to 12 keV with a Gaussian resolution; its
rows sum to at most 0.95, and its area is a smooth bump of some hundred cm^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.special import ndtr

from xrayflow.ogip import Observation, Origin, read_observation, write_pha

FloatArray = NDArray[np.float64]

ENERGY_EDGES: FloatArray = np.linspace(0.2, 12.0, 151)
CHANNEL_EDGES: FloatArray = np.linspace(0.0, 12.0, 121)


def redistribution(energy_edges: FloatArray = ENERGY_EDGES, channel_edges: FloatArray = CHANNEL_EDGES) -> FloatArray:
    """A Gaussian redistribution matrix (energy, channel), float32 exact, elements below 1e-6 cut."""
    centre = (energy_edges[1:] + energy_edges[:-1]) / 2
    sigma = 0.03 + 0.03 * np.sqrt(centre)
    below = ndtr((channel_edges - centre[:, None]) / sigma[:, None])
    matrix = 0.95 * np.diff(below, axis=1)
    return np.where(matrix < 1e-6, 0.0, matrix).astype(np.float32).astype(np.float64)


def effective_area(energy_edges: FloatArray = ENERGY_EDGES) -> FloatArray:
    """A bump of at most 600 cm^2 at 1.5 keV."""
    centre = (energy_edges[1:] + energy_edges[:-1]) / 2
    area = 600.0 * np.exp(-(np.log(centre / 1.5) ** 2))
    return area.astype(np.float32).astype(np.float64)


def write_rmf(
    path: Path,
    *,
    matrix: FloatArray | None = None,
    energy_edges: FloatArray = ENERGY_EDGES,
    channel_edges: FloatArray = CHANNEL_EDGES,
    groups: str = "scalar",
    elements: str = "variable",
    first_channel: int = 0,
    tlmin: int | str | None = 0,
    name: str = "MATRIX",
    hduclas3: str = "REDIST",
    ebounds_first: bool = False,
    channel_format: str = "J",
    ebounds_from: int | None = None,
) -> Path:
    """Write an RMF in any of the forms that the standard allows.

    Args:
        path: The file, packed where it ends in `.gz`.
        matrix: Dense matrix (energy, channel); None: `redistribution`.
        energy_edges: Photon energies [keV].
        channel_edges: Nominal energies of the channels [keV].
        groups: F_CHAN and N_CHAN as "scalar", "fixed" (vectors longer than N_GRP), or "variable".
        elements: MATRIX as "fixed" or "variable" array.
        first_channel: Number of the first channel in F_CHAN.
        tlmin: TLMIN of F_CHAN; None: no keyword.
        name: EXTNAME of the matrix.
        hduclas3: HDUCLAS3 of the matrix.
        ebounds_first: EBOUNDS before the matrix.
        channel_format: FITS format of EBOUNDS' CHANNEL.
        ebounds_from: First number in EBOUNDS; None: `first_channel`.
    """
    matrix = redistribution(energy_edges, channel_edges) if matrix is None else matrix
    runs = [_runs(row, whole=groups == "scalar") for row in matrix]
    starts = [[first_channel + begin for begin, _ in row] for row in runs]
    counts = [[end - begin for begin, end in row] for row in runs]
    values = [np.concatenate([row[b:e] for b, e in run] or [row[:0]]) for row, run in zip(matrix, runs, strict=True)]
    columns = [
        fits.Column("ENERG_LO", "D", unit="keV", array=energy_edges[:-1]),
        fits.Column("ENERG_HI", "D", unit="keV", array=energy_edges[1:]),
        fits.Column("N_GRP", "I", array=np.array([len(run) for run in runs])),
        _group_column("F_CHAN", starts, groups),
        _group_column("N_CHAN", counts, groups),
        _element_column(values, matrix.shape[1], elements),
    ]
    table = fits.BinTableHDU.from_columns(columns, name=name)
    if tlmin is not None:
        table.header["TLMIN4"] = tlmin
    table.header.update({"HDUCLASS": "OGIP", "HDUCLAS1": "RESPONSE", "HDUCLAS3": hduclas3})
    table.header["DETCHANS"] = matrix.shape[1]
    begin = first_channel if ebounds_from is None else ebounds_from
    ebounds = fits.BinTableHDU.from_columns(
        [
            fits.Column("CHANNEL", channel_format, array=begin + np.arange(matrix.shape[1])),
            fits.Column("E_MIN", "D", unit="keV", array=channel_edges[:-1]),
            fits.Column("E_MAX", "D", unit="keV", array=channel_edges[1:]),
        ],
        name="EBOUNDS",
    )
    tables = [ebounds, table] if ebounds_first else [table, ebounds]
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(path, overwrite=True)
    return path


def write_parts(
    path: Path, parts: Sequence[tuple[FloatArray, FloatArray]], keywords: Sequence[dict[str, Any]] = (), **form: Any
) -> Path:
    """Write an RMF of several matrices, EXTVER 1, 2, ..., and one EBOUNDS.

    Args:
        path: The file.
        parts: Energy edges and dense matrix of each.
        keywords: Of the header of each.
        form: As of `write_rmf`.
    """
    # joined as bytes: astropy does not copy variable arrays from file to file
    tables, end = b"", b""
    for number, (energy_edges, matrix) in enumerate(parts):
        write_rmf(path, matrix=matrix, energy_edges=energy_edges, **form)
        for keyword, value in {"EXTVER": number + 1, **(keywords[number] if keywords else {})}.items():
            fits.setval(path, keyword, value=value, ext=1)
        with fits.open(path) as units:
            begin, ebounds = (units[extension].fileinfo()["hdrLoc"] for extension in (1, 2))
        content = path.read_bytes()
        tables, end = (tables or content[:begin]) + content[begin:ebounds], content[ebounds:]
    path.write_bytes(tables + end)
    return path


def write_arf(
    path: Path, *, area: FloatArray | None = None, energy_edges: FloatArray = ENERGY_EDGES, **header: Any
) -> Path:
    """Write an ARF of single-precision energies, as most are.

    Args:
        path: The file.
        area: Effective area [cm^2]; None: `effective_area`.
        energy_edges: Photon energies [keV].
        header: Keywords to add.
    """
    columns = [
        fits.Column("ENERG_LO", "E", unit="keV", array=energy_edges[:-1]),
        fits.Column("ENERG_HI", "E", unit="keV", array=energy_edges[1:]),
        fits.Column("SPECRESP", "E", unit="cm**2", array=effective_area(energy_edges) if area is None else area),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="SPECRESP")
    table.header.update(header)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


def write_spectrum(path: Path, columns: dict[str, Any], **header: Any) -> Path:
    """Write a PHA file of any columns (name -> values) and keywords; a keyword of value None is left out."""
    formats = {"i": "J", "u": "J", "f": "D", "U": "20A"}
    table = fits.BinTableHDU.from_columns([_any_column(name, np.asarray(v), formats) for name, v in columns.items()])
    defaults: dict[str, Any] = {
        "EXTNAME": "SPECTRUM",
        "HDUCLAS1": "SPECTRUM",
        "EXPOSURE": 100.0,
        "BACKSCAL": 1.0,
        "AREASCAL": 1.0,
        "POISSERR": True,
    }
    for keyword, value in (defaults | header).items():
        if value is not None:
            table.header[keyword] = value
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


def power_law_counts(exposure: float = 1000.0, norm: float = 0.05, photon_index: float = 1.7) -> FloatArray:
    """Expected counts of each channel of a power law, norm in photons/cm^2/s/keV at 1 keV, midpoint rule."""
    centre, width = (ENERGY_EDGES[1:] + ENERGY_EDGES[:-1]) / 2, np.diff(ENERGY_EDGES)
    photons = norm * centre**-photon_index * width
    return np.asarray(exposure * (photons * effective_area()) @ redistribution())


def toy_files(
    folder: Path,
    *,
    counts: FloatArray | None = None,
    exposure: float = 1000.0,
    norm: float = 0.05,
    seed: int | None = 0,
    background: bool = False,
    **pha: Any,
) -> Path:
    """Write `toy.pha`, `toy.rmf`, `toy.arf` and perhaps `toy.bkg` that name each other.

    Args:
        folder: Where to.
        counts: Counts of the 120 channels; None: a Poisson draw of `power_law_counts`.
        exposure: Exposure of source and background [s].
        norm: Of the power law.
        seed: Of the draw; None: the expected counts themselves.
        background: Add a background of 0.02 counts/s per channel in a region of 4 times the source's, to both.
        pha: Further arguments of `write_pha`.

    Returns:
        The spectrum's path.
    """
    write_rmf(folder / "toy.rmf")
    write_arf(folder / "toy.arf")
    random = np.random.default_rng(seed)
    channel = np.arange(120)
    share = np.full(120, 0.02 * exposure)
    if counts is None:
        expected = power_law_counts(exposure, norm) + (share if background else 0.0)
        counts = expected if seed is None else random.poisson(expected).astype(np.float64)
    if background:
        region = 4.0 * share if seed is None else random.poisson(4.0 * share)
        write_pha(folder / "toy.bkg", channel, region, exposure, backscal=4.0, origin=Origin(kind="BKG"))
    origin = Origin("TOY", "CCD", "power law", "toy.rmf", "toy.arf", "toy.bkg" if background else None)
    return write_pha(folder / "toy.pha", channel, counts, exposure, origin=origin, **pha)


def toy_observation(folder: Path, **arguments: Any) -> Observation:
    """Write the files of `toy_files` and read them."""
    return read_observation(toy_files(folder, **arguments))


def _runs(row: FloatArray, *, whole: bool) -> list[tuple[int, int]]:
    """Begin and end of the stretches of non-zero elements; `whole`: one from the first to the last."""
    filled = np.flatnonzero(row)
    if whole:
        # scalar columns hold one group, so that a row without response is one of no channels
        return [(int(filled[0]), int(filled[-1]) + 1)] if len(filled) else [(0, 0)]
    inside = np.concatenate([[False], row != 0.0, [False]])
    step = np.flatnonzero(inside[1:] != inside[:-1])
    return list(zip(step[::2].tolist(), step[1::2].tolist(), strict=True))


def _group_column(name: str, rows: list[list[int]], form: str) -> fits.Column:
    if form == "scalar":
        return fits.Column(name, "J", array=np.array([row[0] for row in rows]))
    if form == "fixed":
        width = max(len(row) for row in rows) + 2
        return fits.Column(name, f"{width}I", array=np.array([row + [0] * (width - len(row)) for row in rows]))
    return fits.Column(name, "PI()", array=_objects([np.array(row, dtype=np.int16) for row in rows]))


def _element_column(values: list[FloatArray], width: int, form: str) -> fits.Column:
    if form == "fixed":
        padded = np.zeros((len(values), width), dtype=np.float32)
        for row, filled in zip(padded, values, strict=True):
            row[: len(filled)] = filled
        return fits.Column("MATRIX", f"{width}E", array=padded)
    return fits.Column("MATRIX", "PE()", array=_objects([row.astype(np.float32) for row in values]))


def _objects(rows: list[Any]) -> NDArray[np.object_]:
    array = np.empty(len(rows), dtype=object)
    for index, row in enumerate(rows):
        array[index] = row
    return array


def _any_column(name: str, values: NDArray[Any], formats: dict[str, str]) -> fits.Column:
    width = str(values.shape[1]) if values.ndim == 2 else ""
    form = "E" if values.dtype == np.float32 else formats[values.dtype.kind]
    return fits.Column(name, width + form, array=values)
