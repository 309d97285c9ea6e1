"""What a user believes of the errors that no count tells of: none, a fraction of every bin, or calibration modes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xrayflow.calibration import find_mode_set
from xrayflow.errors import DataError, misused
from xrayflow.ogip import Spectrum
from xrayflow.statistics.count_density import MOST_SYSTEMATIC

MODES = "modes"
"""The word that asks for calibration modes: modes, modes:2, modes:nicer-v1, modes:nicer-v1:2."""

OF_TELESCOPE = {"NICER": "nicer-v1"}
OF_ANY = "generic-v1"
"""Sets that are taken where the user names none."""

BRIGHT = 1e5
"""Counts in the band from which modes are taken for an instrument that has a set of its own, unless the user says."""

LEAST_AMPLITUDE, MOST_AMPLITUDE = 0.01, 10.0


@dataclass(frozen=True)
class Systematic:
    """Errors of the source model or of the response.

    Attributes:
        fraction: s, independent in every bin, a fraction of the source model.
        modes: Set of calibration modes; "" for none, `MODES` for the one that suits the instrument.
        amplitude: A0 of the modes; None takes the set's for the year of the response.
        said: Whether a user said so; else it depends on the spectrum.
    """

    fraction: float = 0.0
    modes: str = ""
    amplitude: float | None = None
    said: bool = True

    @classmethod
    def of(cls, said: float | str | Systematic | None) -> Systematic:
        """From the words of the command line.

        Args:
            said: 0.015, "0.015", "modes", "modes:2", "modes:nicer-v1", "modes:nicer-v1:2"; None leaves it to the
                spectrum.

        Raises:
            DataError: Anything else, or a number out of range.
        """
        if isinstance(said, Systematic):
            return said
        if said is None:
            return cls(said=False)
        text = str(said).strip()
        word, *rest = text.split(":", 1)
        if word != MODES:
            value = _number(text)
            if value is None or not 0.0 <= value < MOST_SYSTEMATIC:
                raise misused(
                    DataError(
                        f"--systematic {text}: it is a fraction of the model; give 0 or more, below {MOST_SYSTEMATIC}, "
                        "or modes[:SET][:AMPLITUDE]"
                    )
                )
            return cls(value)
        found = cls(modes=MODES)
        if rest:
            *names, last = rest[0].split(":")
            amplitude = _number(last)
            if amplitude is None and not names:
                names, last = [last], ""
            if len(names) > 1 or not all(names) or (amplitude is None and (last or rest[0].endswith(":"))):
                raise misused(DataError(f"--systematic {text}: write modes[:SET][:AMPLITUDE], as modes:nicer-v1:2"))
            if amplitude is not None and not LEAST_AMPLITUDE <= amplitude <= MOST_AMPLITUDE:
                raise misused(
                    DataError(
                        f"--systematic {text}: the amplitude is {LEAST_AMPLITUDE:g} or more, up to {MOST_AMPLITUDE:g}"
                    )
                )
            if names:
                find_mode_set(names[0])
            found = cls(modes=names[0] if names else MODES, amplitude=amplitude)
        return found

    def for_spectrum(self, spectrum: Spectrum) -> Systematic:
        """What it comes to for one spectrum: the set of modes by its name.

        Args:
            spectrum: The noticed bins.
        """
        telescope = spectrum.observation.pha.telescope.upper()
        if not self.said:
            bright = telescope in OF_TELESCOPE and float(spectrum.counts.sum()) > BRIGHT
            return replace(self, modes=OF_TELESCOPE[telescope] if bright else "")
        return self.for_telescope(telescope)

    def for_telescope(self, telescope: str) -> Systematic:
        """What a user said, the set of modes by its name.

        Args:
            telescope: TELESCOP of the spectrum.
        """
        return replace(self, modes=OF_TELESCOPE.get(telescope.upper(), OF_ANY)) if self.modes == MODES else self


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value
