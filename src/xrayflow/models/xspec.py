"""The compiled XSPEC models, in a process of their own: oracle of the reference tests, simulator of what we lack.

`pip install 'xrayflow[xspec]'` brings LibXSPEC 6.35.1 as the PyPI wheel `xspectrampoline` 0.1.5. It is not
thread-safe, it prints banners on file descriptor 1, and some components end the process or return zeros without a
word, since the wheel carries no `modelData`. So it runs in a child process that has this file as its program; a line of
JSON and raw float64 arrays go over the pipe. Only components that were seen to work are offered, and every answer is
looked at before it is handed on.

`ezdiskbb` reads its disc spectrum from a table of `modelData`, which we compute: with u = r^-1/2 and the temperature
t(u) = u^(3/2) (1 - u)^(1/4) / 0.4878713 in units of its maximum (zero torque at the inner edge), for T_max = 1 keV

    N_E = K E^2 * Integral_0^1 2 u^-5 du / (exp(E / t(u)) - 1),      K = 2.0760149e-3 photons/cm^2/s/keV^3

Source: Arnaud 1996, ASPC 101, 17; XSPEC manual, appendix C; for the disc Zimmerman et al. 2005, ApJ 618, 832, eq. 6-9.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrayflow.errors import MissingExtraError, ModelError, XrayflowError, nearest

Kind = Literal["additive", "multiplicative", "convolution"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Component:
    """A compiled component: XSPEC's name, what it does, its parameters without the norm."""

    name: str
    kind: Kind
    parameters: tuple[str, ...]


# A test compares it with the wheel's model.dat.
_TABLE = """
additive powerlaw PhoIndex
additive cutoffpl PhoIndex HighECut
additive bknpower PhoIndx1 BreakE PhoIndx2
additive bkn2pow PhoIndx1 BreakE1 PhoIndx2 BreakE2 PhoIndx3
additive logpar alpha beta pivotE
additive bbody kT
additive bbodyrad kT
additive diskbb Tin
additive diskpbb Tin p
additive ezdiskbb T_max
additive bremss kT
additive compTT Redshift T0 kT taup approx
additive nthComp Gamma kT_e kT_bb inp_type Redshift
additive gaussian LineE Sigma
additive diskline LineE Betor10 Rin_M Rout_M Incl
additive pexrav PhoIndex foldE rel_refl Redshift abund Fe_abund cosIncl
additive pexmon PhoIndex foldE rel_refl redshift abund Fe_abund Incl
additive optxagnf mass dist logLoLEdd astar rcor logrout kT_e tau Gamma fpl Redshift
multiplicative constant factor
multiplicative TBabs nH
multiplicative zTBabs nH Redshift
multiplicative TBpcf nH pcf redshift
multiplicative TBfeo nH O Fe redshift
multiplicative phabs nH
multiplicative vphabs nH He C N O Ne Na Mg Al Si S Cl Ar Ca Cr Fe Co Ni
multiplicative zphabs nH Redshift
multiplicative pcfabs nH CvrFract
multiplicative wabs nH
multiplicative edge edgeE MaxTau
multiplicative gabs LineE Sigma Strength
multiplicative highecut cutoffE foldE
convolution simpl Gamma FracSctr UpScOnly
convolution thcomp Gamma_tau kT_e cov_frac z
convolution rdblur Betor10 Rin_M Rout_M Incl
convolution reflect rel_refl Redshift abund Fe_abund cosIncl
convolution cflux Emin Emax lg10Flux
"""
COMPONENTS: dict[str, Component] = {
    name: Component(name, cast(Kind, kind), tuple(parameters))
    for kind, name, *parameters in map(str.split, _TABLE.strip().splitlines())
}
_WITHOUT_DATA = "apec vapec vvapec bapec bvapec mekal vmekal raymond nei vnei pshock vpshock laor kdblur kerrbb xilconv"
NEEDS_MODEL_DATA = frozenset([*_WITHOUT_DATA.split(), "zxipcf"])
ABUNDANCES = ("angr", "aspl", "feld", "aneb", "grsa", "wilm", "lodd", "lpgp", "lpgs")
CROSS_SECTIONS = ("bcmc", "obcm", "vern")

DISC_CONSTANT = 2.0760149e-3  # 2 pi * 2 / (h^3 c^2) * (1 km / 10 kpc)^2, photons/cm^2/s/keV^3
DISC_PEAK = 0.4878713  # T_max / T_*, at r = 49/36
KEV_IN_ERG = 1.602177e-9
COLDEST_RATIO = 1e4  # E / T_max where the table of ezdiskbb ends


class XspecLibrary:
    """LibXSPEC in a child process, with one set of abundances and cross-sections.

    Use it in a `with` statement; several may run at once, and one may be shared by threads.

    Args:
        abund: Abundance table, XSPEC's name (the library's own default would be angr).
        xsect: Photoelectric cross-sections, XSPEC's name.

    Raises:
        MissingExtraError: The wheel is not installed.
        ModelError: An unknown table of abundances or cross-sections.
        XrayflowError: The library does not start.
    """

    def __init__(self, abund: str = "wilm", xsect: str = "vern") -> None:
        for value, known, what in ((abund, ABUNDANCES, "abund"), (xsect, CROSS_SECTIONS, "xsect")):
            if value not in known:
                raise ModelError(f"XspecLibrary: {what} '{value}' does not exist{nearest(value, known)}")
        spec = importlib.util.find_spec("xspectrampoline")
        if spec is None or spec.origin is None:
            raise MissingExtraError("XspecLibrary: LibXSPEC is not installed; pip install 'xrayflow[xspec]'")
        self.abund, self.xsect = abund, xsect
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="xrayflow-xspec-")
        folder = Path(self._folder.name)
        _make_headas(folder, next(Path(spec.origin).parent.glob("LibXSPEC*")))
        self._connection, theirs = Pipe()
        with theirs, (folder / "stderr").open("wb") as stderr:
            self._process = subprocess.Popen(
                # -P: the folder of this file must not stand in front of the path, its names are too plain.
                [sys.executable, "-P", __file__, str(theirs.fileno()), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
            )
        try:
            self._ask({"abund": abund, "xsect": xsect}, [])
        except XrayflowError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._process.pid

    def call(
        self, component: str, parameters: ArrayLike, energy_edges: ArrayLike, flux_in: ArrayLike | None = None
    ) -> Array:
        """One component for a batch of parameters.

        Args:
            component: XSPEC's name, see `COMPONENTS`.
            parameters: (n, parameter), in XSPEC's order and units, without the norm of an additive component.
            energy_edges: (energy+1,) keV, increasing.
            flux_in: (n, energy) or (energy,) photons/cm^2/s per bin, for a convolution.

        Returns:
            (n, energy): photons/cm^2/s per bin (additive of norm 1, convolution), or the factor (multiplicative).

        Raises:
            ModelError: An unknown component, arguments of the wrong shape, an answer that is zero or not finite.
            XrayflowError: The library's process ended.
        """
        known = _component(component)
        if (known.kind == "convolution") != (flux_in is not None):
            raise ModelError(f"{known.name}: it is {known.kind}; flux_in goes with convolutions, and with them alone")
        return self._run([known], _matrix(parameters, known.parameters, known.name), energy_edges, flux_in)

    def evaluate(self, model_text: str, parameters: ArrayLike, energy_edges: ArrayLike) -> Array:
        """A product such as `TBabs*simpl*ezdiskbb` for a batch of parameters, in one request.

        Args:
            model_text: Components joined by `*`, no sums and no parentheses.
            parameters: (n, parameter), all of XSPEC's parameters in its order, the norm last.
            energy_edges: (energy+1,) keV, increasing.

        Returns:
            (n, energy) photons/cm^2/s per bin.

        Raises:
            ModelError: As `call`, or an expression that is not such a product.
            XrayflowError: The library's process ended.
        """
        chain = [_component(name.strip()) for name in model_text.split("*")]
        kinds = [component.kind for component in chain]
        if kinds[-1] != "additive" or "additive" in kinds[:-1]:
            raise ModelError(f"'{model_text}': a product of factors and convolutions with one additive component, last")
        names = [f"{component.name}.{name}" for component in chain for name in component.parameters]
        names.append(f"{chain[-1].name}.norm")
        matrix = _matrix(parameters, names, model_text)
        return self._run(chain, matrix[:, :-1], energy_edges, None) * matrix[:, -1:]

    def _run(
        self, chain: Sequence[Component], matrix: Array, energy_edges: ArrayLike, flux_in: ArrayLike | None
    ) -> Array:
        edges = np.ascontiguousarray(energy_edges, dtype=np.float64)
        if edges.ndim != 1 or edges.size < 2 or not np.all(np.isfinite(edges)) or not np.all(np.diff(edges) > 0):
            raise ModelError(f"{chain[0].name}: energy_edges must be finite, increasing, at least 2; rebuild the grid")
        if edges[0] <= 0:
            raise ModelError(f"{chain[0].name}: energy_edges start at {edges[0]} keV; start above 0")
        shape = (len(matrix), edges.size - 1)
        arrays = [edges, matrix]
        if flux_in is not None:
            flux = np.asarray(flux_in, dtype=np.float64)
            if flux.shape not in (shape, shape[1:]) or not np.all(np.isfinite(flux)):
                raise ModelError(f"{chain[0].name}: flux_in has shape {flux.shape}; give {shape}, all finite")
            arrays.append(np.ascontiguousarray(np.broadcast_to(flux, shape)))
        header = {"chain": [[part.name, part.kind, len(part.parameters)] for part in chain], "rows": len(matrix)}
        return np.frombuffer(self._ask(header, arrays), dtype=np.float64).reshape(shape).copy()

    def _ask(self, header: dict[str, object], arrays: Sequence[Array]) -> bytes:
        with self._lock:
            try:
                self._connection.send_bytes(json.dumps(header).encode())
                for array in arrays:
                    self._connection.send_bytes(array.tobytes())
                answer = json.loads(self._connection.recv_bytes())
                payload = self._connection.recv_bytes()
            except (EOFError, OSError):
                raise XrayflowError(self._obituary()) from None
            except KeyboardInterrupt:
                # an answer left in the pipe would be taken for that of the next request; a dead peer refuses that one
                self._process.kill()
                self._process.wait()
                raise
        if "error" in answer:
            raise ModelError(answer["error"])
        return payload

    def _obituary(self) -> str:
        if self._connection.closed:
            return "XspecLibrary: it is closed; use it inside its `with` statement"
        code = self._process.wait()
        words = (Path(self._folder.name) / "stderr").read_text(errors="replace").strip().splitlines()
        cause = (f"signal {-code}" if code < 0 else f"exit code {code}") + (f" ({words[-1]})" if words else "")
        return f"XspecLibrary: the process of the compiled models ended with {cause}; open a new XspecLibrary"

    def close(self) -> None:
        """Ends the child process and removes its temporary folder."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _component(name: str) -> Component:
    by_lower = {known.lower(): component for known, component in COMPONENTS.items()}
    if name.lower() in NEEDS_MODEL_DATA:
        raise ModelError(f"{name}: it needs XSPEC's modelData, which the wheel lacks; choose another component")
    if name.lower() not in by_lower:
        raise ModelError(f"{name}: not a component that the bridge offers{nearest(name, COMPONENTS)}")
    return by_lower[name.lower()]


def _matrix(parameters: ArrayLike, names: Sequence[str], where: str) -> Array:
    matrix = np.ascontiguousarray(parameters, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(names) or len(matrix) == 0:
        raise ModelError(f"{where}: parameters of shape {matrix.shape}; give (n, {len(names)}): {', '.join(names)}")
    if not np.all(np.isfinite(matrix)):
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ModelError(f"{where}: {names[column]} is {matrix[row, column]} in row {row}; give a finite value")
    return matrix


def disc_photon_flux(energy: Array) -> Array:
    """Photons/cm^2/s/keV of ezdiskbb at T_max = 1 keV and norm 1, by direct quadrature.

    The trapezoidal rule in y = ln(u / (1 - u)), where the integrand and all its derivatives die at both ends.

    Args:
        energy: (energy,) keV.

    Returns:
        (energy,) photons/cm^2/s/keV.

    Source: Zimmerman et al. 2005 (ApJ 618, 832), eq. 6-9.
    """
    step = 0.08  # good to 2e-14 below 100 keV, 2e-11 at 600 keV; the range to the same from 1e-4 keV
    y = np.arange(-10.0, 30.0, step)
    log_u, log_1_minus_u = -np.logaddexp(0.0, -y), -np.logaddexp(0.0, y)
    cold = DISC_PEAK * np.exp(-1.5 * log_u - 0.25 * log_1_minus_u)
    weight = 2 * step * np.exp(-4 * log_u + log_1_minus_u)
    flux = np.empty_like(energy)
    for start in range(0, energy.size, 100):
        part = energy[start : start + 100]
        with np.errstate(over="ignore"):
            flux[start : start + 100] = DISC_CONSTANT * part**2 * ((1 / np.expm1(np.outer(part, cold))) @ weight)
    return flux


def _make_headas(folder: Path, wheel: Path) -> None:
    """A HEADAS folder: the wheel's library and manager by links, and the one table of modelData that we can make."""
    from astropy.io import fits

    (folder / "spectral" / "modelData").mkdir(parents=True)
    (folder / "lib").symlink_to(wheel / "lib")
    (folder / "spectral" / "manager").symlink_to(wheel / "spectral" / "manager")
    energy = 1e-4 * 10 ** (np.arange(25_000) / 3125)
    # Above 700 keV the flux of a 1 keV disc is below the smallest double.
    flux = np.zeros_like(energy)
    flux[energy < 700] = disc_photon_flux(energy[energy < 700])
    columns = [
        fits.Column("ENERGY", "D", unit="keV", array=energy),
        fits.Column("FLUX", "D", unit="photons/cm2/s/erg", array=flux / KEV_IN_ERG),
    ]
    fits.BinTableHDU.from_columns(columns, name="FLUX").writeto(folder / "spectral" / "modelData" / "ezdiskbbdata.fits")


# What follows runs in the child.


def _serve(connection: Connection, folder: Path) -> None:
    # Before the import: the library reads both when it is loaded, and a user's ~/.xspec shall not change our answers.
    os.environ["HEADAS"] = os.environ["HOME"] = str(folder)
    from xspectrampoline import lib_XSFunctions as library

    while True:
        try:
            header = json.loads(connection.recv_bytes())
        except EOFError:
            return
        payload = np.empty(0)
        try:
            if "chain" in header:
                payload = _answer(library, connection, header)
            else:
                _set(library.FPSOLR, header["abund"])
                _set(library.FPXSCT, header["xsect"])
            said = "{}"
        except ModelError as error:
            said = json.dumps({"error": str(error)})
        connection.send_bytes(said.encode())
        connection.send_bytes(payload.tobytes())


def _set(function: Callable[..., object], value: str) -> None:
    status = ctypes.c_int(0)
    function(value.encode(), ctypes.byref(status))
    if status.value != 0:
        raise ModelError(f"XspecLibrary: the library refused '{value}' (status {status.value})")


def _answer(library: ctypes.CDLL, connection: Connection, header: dict[str, Any]) -> Array:
    edges = np.frombuffer(connection.recv_bytes())
    rows, chain = header["rows"], header["chain"]
    matrix = np.frombuffer(connection.recv_bytes()).reshape(rows, -1)
    if chain[-1][1] == "convolution":
        flux = np.frombuffer(connection.recv_bytes()).reshape(rows, -1).copy()
    else:
        flux = np.ones((rows, edges.size - 1))
    stop = matrix.shape[1]
    for name, kind, width in reversed(chain):
        values = np.ascontiguousarray(matrix[:, stop - width : stop])
        stop -= width
        result = flux if kind == "convolution" else np.zeros_like(flux)
        for row in range(rows):
            had_photons = kind != "convolution" or bool(np.any(flux[row]))
            _call(library, name, edges, values[row], result[row])
            _check(name, values[row], result[row], had_photons)
        flux = result if kind != "multiplicative" else flux * result
    return flux


def _call(library: ctypes.CDLL, name: str, edges: Array, parameters: Array, result: Array) -> None:
    function = getattr(library, f"C_{name}")
    function.restype = None
    # nthComp looks for 1 keV from where it last was, be it beyond this spectrum's end: NaN. So hot a seed has it early
    for values in [np.array([1.7, 1e3, 10.0, 0.0, 0.0]), parameters] if name == "nthComp" else [parameters]:
        arrays = (edges, values, result, np.zeros_like(result))
        pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in arrays]
        function(pointers[0], ctypes.c_int(result.size), pointers[1], ctypes.c_int(1), pointers[2], pointers[3], b"")
    if name == "ezdiskbb":
        # The library leaves the bin where its table ends uninitialised; exp(-10 000) is zero in any precision.
        result[edges[1:] >= COLDEST_RATIO * parameters[0]] = 0.0


def _check(name: str, parameters: Array, result: Array, had_photons: bool) -> None:
    where = f"{name} at {', '.join(f'{value:g}' for value in parameters)}"
    if bad := np.count_nonzero(~np.isfinite(result)):
        raise ModelError(f"{where}: not finite in {bad} of {result.size} bins; stay inside XSPEC's hard limits")
    if had_photons and not np.any(result):
        raise ModelError(f"{where}: zero in every bin; widen the energy grid, or the component lacks its modelData")


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), Path(sys.argv[2]))
