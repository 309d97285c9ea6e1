"""The tables of a run file, each with its settings; unknown keys are refused, and nothing is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Whole = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Width = Annotated[int, Field(strict=True, ge=1, le=4096)]
Depth = Annotated[int, Field(strict=True, ge=1, le=64)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]
Weight = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, gt=0, le=10, allow_inf_nan=False)]
LastRate = Annotated[float, Field(strict=True, ge=0, le=10, allow_inf_nan=False)]
YesNo = Annotated[bool, Field(strict=True)]

BUNDLED, NO_ARF = "nicer", "none"
"""Words in place of a file: the bundled response, and no effective area."""

LONGEST_EXPRESSION = 10_000
"""The longest model [characters]."""
MOST_WEIGHTS = 100_000_000
"""The largest network, without the layers whose sizes follow from its bins and parameters."""
MOST_LAYERS = 16
"""The longest list of layers."""
MOST_VALUES = 1000
"""The longest of all other lists."""


class Section(BaseModel):
    """A table of a run file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    """[model]: the spectral model, in XSPEC's names.

    Attributes:
        expression: What `--model` takes.
        abund: Abundance table.
        freeze: Parameters that are held, with their values in XSPEC's units.
        prior: Changes of the box, as `--prior` takes them. The training prior and the network's coordinates use it.
    """

    expression: Annotated[str, Field(max_length=LONGEST_EXPRESSION)]
    abund: str = "wilm"
    freeze: Annotated[dict[str, Finite], Field(max_length=MOST_VALUES)] = {}
    prior: Annotated[tuple[str, ...], Field(max_length=MOST_VALUES)] = ()


class InstrumentSection(Section):
    """[instrument]: "nicer" is the bundled response; else files, relative to the run file.

    Attributes:
        rmf: Redistribution matrix.
        arf: Effective area; "none" where the matrix includes it. It must be said where the matrix is another.
        detectors: Of the reference response, for the scalings that count per detector.
    """

    rmf: str = BUNDLED
    arf: str | None = BUNDLED
    detectors: Positive = 52.0

    @model_validator(mode="after")
    def _goes_together(self) -> InstrumentSection:
        if self.rmf != BUNDLED and "arf" not in self.model_fields_set:
            raise ValueError(f"say arf for {self.rmf} too: a file, or 'none' where the matrix includes the area")
        return self


class LayoutSection(Section):
    """[layout]: the network's bins, by first channel and width.

    Attributes:
        starts: First channel of each run of bins of one width.
        widths: Channels in a bin of each run.
        energies: keV; bins whose centre lies inside are used.
        bins: How many at most, from the lowest energy.
    """

    starts: Annotated[tuple[Whole, ...], Field(max_length=MOST_VALUES)] = (0, 20, 248, 600, 1200, 1494)
    widths: Annotated[tuple[Count, ...], Field(max_length=MOST_VALUES)] = (2, 3, 4, 5, 6, 2)
    energies: tuple[Positive, Positive] = (0.3, 10.0)
    bins: Count | None = 240


class DataSection(Section):
    """[data]: what the network is trained on.

    Attributes:
        spectra: A fixed set of so many; 0 simulates every batch anew.
        validation: Spectra of a set apart, that only measures.
        noise: Counts scatter; without, the expected counts (floored at one) are the data, as in the paper.
        modes: For a local flow: so many spectra of which the mode is found; 1.5 ms each.
    """

    spectra: Annotated[int, Field(strict=True, ge=0, le=2_000_000)] = 0
    validation: Count = 4000
    noise: YesNo = True
    modes: Annotated[int, Field(strict=True, ge=0, le=2_000_000)] = 0


class NetworkSection(Section):
    """[network]: its parts and their sizes.

    Attributes:
        scaling: What the encoder sees: "fractions" is ours, "paper" and "paper-centred" see rates and their sigma.
        coordinates: What the flow works in: "probit" of the box, or the paper's z-scores ("standardised").
        encoder: "residual" layers, or the paper's convolutions.
        context: Width of what the encoder hands to the flow.
        blocks: Length of the residual encoder.
        convolutions: Of the convolutional one, each (kernel, stride, channels out).
        latent: The distribution: "coupling" (ours, fast), "autoregressive" (the paper's), "gaussian" (a plain
            variational autoencoder's), "point" (a single value).
        transforms: Length of a flow.
        splines: Bins of its rational-quadratic splines.
        hidden: Widths of the flow's own layers.
        decoder: "none", the paper's ("recurrent"), or the simulator in its place ("physical").
        decoder_widths: First layers of the recurrent one; three as wide as the spectrum follow.
        decoder_layers: Length of its recurrent unit.
        dropout: Share of its layers' outputs that a step leaves out.
        local: A second flow, which sees the posterior from its mode (`local.Local`).
        local_width, local_transforms, local_hidden: Its sizes.
        local_coordinates: What it works in: "probit", or "counts", with the expected counts in the norm's place.
    """

    scaling: Literal["fractions", "paper", "paper-centred"] = "fractions"
    coordinates: Literal["probit", "standardised"] = "probit"
    encoder: Literal["residual", "convolutional"] = "residual"
    context: Width = 256
    blocks: Depth = 3
    convolutions: Annotated[tuple[tuple[Width, Width, Width], ...], Field(max_length=MOST_LAYERS)] = (
        (2, 2, 16),
        (3, 1, 32),
        (2, 2, 32),
        (3, 1, 32),
        (2, 2, 32),
        (3, 1, 32),
    )
    latent: Literal["coupling", "autoregressive", "gaussian", "point"] = "coupling"
    transforms: Depth = 6
    splines: Annotated[int, Field(strict=True, ge=2, le=64)] = 8
    hidden: Annotated[tuple[Width, ...], Field(max_length=MOST_LAYERS)] = (64,)
    decoder: Literal["none", "recurrent", "physical"] = "none"
    decoder_widths: Annotated[tuple[Width, ...], Field(max_length=MOST_LAYERS)] = (120, 120)
    decoder_layers: Depth = 2
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    local: YesNo = False
    local_width: Width = 128
    local_transforms: Depth = 6
    local_hidden: Width = 64
    local_coordinates: Literal["probit", "counts"] = "probit"

    @model_validator(mode="after")
    def _fits(self) -> NetworkSection:
        if self.local and self.coordinates != "probit":
            raise ValueError("a local flow works in the prior's cube: coordinates = 'probit'")
        if self.decoder != "none" and self.scaling == "fractions":
            raise ValueError("a decoder reconstructs the paper's values: scaling = 'paper' or 'paper-centred'")
        if self.latent == "coupling" and len(self.hidden) != 1:
            raise ValueError("hidden: a coupling flow takes one number, as hidden = [64]")
        if self.inner_weights > MOST_WEIGHTS:
            raise ValueError(f"it has {self.inner_weights:.1e} weights; make it smaller, at most {MOST_WEIGHTS:.0e}")
        return self

    @property
    def inner_weights(self) -> int:
        """Weights between layers whose sizes stand here: the others need the bins and the parameters."""
        encoder = 2 * self.context**2 * (self.blocks if self.encoder == "residual" else 1)
        if self.encoder == "convolutional":
            encoder += sum(one[2] * other[0] * other[2] for one, other in pairwise(self.convolutions))
        flow = 0
        if self.latent in ("coupling", "autoregressive"):
            flow = self.transforms * _between((self.context, *self.hidden))
        decoder = _between(self.decoder_widths) if self.decoder == "recurrent" else 0
        local = (
            2 * self.local_width**2 + self.local_transforms * (self.local_width + self.local_hidden) * self.local_hidden
        )
        return encoder + flow + decoder + (local if self.local else 0)


def _between(widths: Sequence[int]) -> int:
    """Weights between layers of these widths."""
    return sum(one * other for one, other in pairwise(widths))


class StageSection(Section):
    """[[stage]]: a stretch of training with its own parts, losses and schedule.

    Attributes:
        name: For logs and checkpoints.
        trains: The parts whose weights move.
        flow, latent, reconstruction: Weights of -log q(theta), of the mean square of a draw's error, and of the
            reconstruction from a draw.
        decoder: Weight of the reconstruction from the true theta.
        local: Weight of -log q(theta) seen from the spectrum's mode; trains on the modes of [data], nothing else.
        reconstruction_likelihood: "gaussian" is the paper's, with the data's sigma; "counts" is the exact likelihood.
        draws: Per spectrum, for the losses that take some.
        epochs: How many at most.
        steps: Batches per epoch; needed where every batch is simulated anew.
        batch: Spectra.
        rate, last_rate: Learning rate of AdamW at the start and the end.
        schedule: "cosine" goes to `last_rate` at the last epoch; "plateau" divides by ten where the validation loss
            stalls for `patience` epochs, and stops when it has not gained for `stop` epochs.
        warmup: Steps over which the rate rises.
        clip: Largest norm of the gradient; 0 is none.
        patience: Epochs, see `schedule`.
        stop: Epochs, see `schedule`.
        weight_decay: AdamW's.
        spectra: A library to train on instead of [data], relative to the run file.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    trains: Annotated[tuple[Literal["encoder", "flow", "decoder", "local"], ...], Field(min_length=1)]
    flow: Weight = 0.0
    latent: Weight = 0.0
    reconstruction: Weight = 0.0
    decoder: Weight = 0.0
    local: Weight = 0.0
    reconstruction_likelihood: Literal["gaussian", "counts"] = "gaussian"
    draws: Count = 1
    epochs: Count
    steps: Count | None = None
    batch: Annotated[int, Field(strict=True, ge=2, le=65_536)] = 512
    rate: Rate = 1.5e-3
    last_rate: LastRate = 0.0
    schedule: Literal["cosine", "plateau"] = "cosine"
    warmup: Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)] = 200
    clip: Weight = 5.0
    patience: Count = 10
    stop: Count = 30
    weight_decay: Weight = 0.01
    spectra: str | None = None

    @model_validator(mode="after")
    def _has_a_loss(self) -> StageSection:
        others = self.flow + self.latent + self.reconstruction + self.decoder
        if others + self.local == 0:
            raise ValueError(f"stage {self.name}: all weights are 0; give flow, latent, reconstruction or decoder")
        if self.local > 0 and others > 0:
            raise ValueError(f"stage {self.name}: local trains on modes, the others on spectra; make two stages of it")
        losses = {
            "encoder": self.flow + self.latent + self.reconstruction,
            "decoder": self.reconstruction + self.decoder,
        }
        losses |= {"flow": losses["encoder"], "local": self.local}
        for part in self.trains:
            if losses[part] == 0:
                raise ValueError(
                    f"stage {self.name}: no loss with a weight depends on the {part}; leave it out of trains"
                )
        return self
