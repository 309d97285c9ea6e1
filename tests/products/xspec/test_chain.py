"""The chain, read by a parser of FITS that knows nothing of ours: what XSPEC compares, byte by byte."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from answer_zoo import altered, first_parameters, toy_posterior
from ogip_zoo import toy_observation
from xrayflow import optimise
from xrayflow.inference import Posterior
from xrayflow.products.xspec import chain_file

CARD, BLOCK = 80, 2880


def read_chain(content: bytes) -> tuple[dict[str, str], dict[str, str], np.ndarray]:
    """The keywords of the first table of a FITS file, those of its primary header, and its doubles (row, column)."""
    assert len(content) % BLOCK == 0
    headers, place = [], 0
    for _ in range(2):
        cards: dict[str, str] = {}
        while "END" not in cards:
            block = content[place : place + BLOCK].decode("ascii")
            for card in (block[i : i + CARD] for i in range(0, BLOCK, CARD)):
                name, value = card[:8].strip(), card[10:] if card[8:10] == "= " else ""
                text = re.match(r"\s*'((?:[^']|'')*)'", value)
                if name not in ("HISTORY", "COMMENT", ""):
                    cards[name] = text[1].rstrip() if text else value.split("/")[0].strip()
            place += BLOCK
        headers.append(cards)
    rows, width, columns = (int(headers[1][name]) for name in ("NAXIS2", "NAXIS1", "TFIELDS"))
    assert width == 8 * columns
    values = struct.unpack(f">{rows * columns}d", content[place : place + rows * width])
    return headers[1], headers[0], np.array(values).reshape(rows, columns)


def columns(header: dict[str, str], keyword: str) -> list[str]:
    """A keyword of all columns; empty where a column has none."""
    return [header.get(f"{keyword}{number}", "") for number in range(1, int(header["TFIELDS"]) + 1)]


def test_xspec_finds_what_it_looks_for() -> None:
    header, primary, _ = read_chain(chain_file(toy_posterior()))
    assert primary["SIMPLE"] == "T"
    assert (header["XTENSION"], header["EXTNAME"]) == ("BINTABLE", "CHAIN")
    assert header["CHAINTYP"] == "MetropolisHastings"
    assert float(header["TEMPR001"]) == 1.0
    assert header["STROW001"] == "1"
    assert "TEMPR002" not in header
    assert columns(header, "TFORM") == ["D"] * 4
    assert columns(header, "TTYPE") == ["nH__1", "PhoIndex__2", "norm__3", "FIT_STATISTIC"]
    assert columns(header, "TUNIT") == ["10^22", "", "", "C-Statistic"]


def test_frozen_parameters_have_no_column_but_count() -> None:
    header, _, _ = read_chain(chain_file(first_parameters(toy_posterior(), 1)))
    assert columns(header, "TTYPE") == ["nH__1", "FIT_STATISTIC"]
    toy = toy_posterior()
    model = toy.model.freeze({"TBabs.nH": 0.02})
    prior = replace(toy.prior, marginals=toy.prior.marginals[1:])
    bent = altered(toy, model=model, prior=prior, draws=toy.draws[:, 1:], best=toy.best[1:])
    assert columns(read_chain(chain_file(bent))[0], "TTYPE") == ["PhoIndex__2", "norm__3", "FIT_STATISTIC"]


def test_linked_parameters_have_no_column() -> None:
    toy = toy_posterior()
    model = toy.model.link({"powerlaw.norm": "0.1*powerlaw.PhoIndex"})
    prior = replace(toy.prior, marginals=toy.prior.marginals[:2])
    bent = altered(toy, model=model, prior=prior, draws=toy.draws[:, :2], best=toy.best[:2])
    assert columns(read_chain(chain_file(bent))[0], "TTYPE") == ["nH__1", "PhoIndex__2", "FIT_STATISTIC"]


def test_nuisances_are_left_out() -> None:
    posterior = toy_posterior(background=True)
    assert len(posterior.names) == 5
    header, _, rows = read_chain(chain_file(posterior))
    assert columns(header, "TTYPE") == ["nH__1", "PhoIndex__2", "norm__3", "FIT_STATISTIC"]
    # XSPEC's cstat is W where there is a background
    assert header["TUNIT4"] == "C-Statistic"
    assert rows.shape == (1000, 4)


def test_rows_have_equal_weights_and_are_draws() -> None:
    posterior = toy_posterior()
    _, _, rows = read_chain(chain_file(posterior))
    drawn = {tuple(row) for row in posterior.draws}
    assert all(tuple(row[:3]) in drawn for row in rows)
    for column, values in enumerate(rows.T[:3]):
        mean = float(posterior.weights @ posterior.draws[:, column])
        sd = float(np.sqrt(posterior.weights @ (posterior.draws[:, column] - mean) ** 2))
        # resampled systematically, so off by less than sd / sqrt(1000) would let it be
        assert abs(values.mean() - mean) < 0.05 * sd


def test_a_draw_without_weight_is_in_no_row() -> None:
    posterior = toy_posterior()
    log_weight = posterior.log_weight.copy()
    log_weight[::2] = -np.inf
    _, _, rows = read_chain(chain_file(altered(posterior, log_weight=log_weight)))
    kept = {tuple(row) for row in posterior.draws[1::2]}
    assert all(tuple(row[:3]) in kept for row in rows)


@pytest.mark.parametrize("background", [False, True])
def test_the_statistic_is_xspecs_at_each_row(tmp_path: Path, background: bool) -> None:
    posterior = toy_posterior(background=background)
    _, _, rows = read_chain(chain_file(posterior))
    observation = toy_observation(tmp_path, exposure=200.0, background=background)
    fit = optimise(observation, "TBabs*powerlaw", energies=[(1.0, 6.0)], grouping="min:20", objective="statistic")
    import torch

    found = fit.problem.statistic(torch.from_numpy(rows[None, :50, :3].copy()))[0].numpy()
    np.testing.assert_allclose(rows[:50, 3], found, atol=0.05)
    assert rows[:, 3].min() > fit.value - 0.05


def test_the_same_answer_gives_the_same_chain() -> None:
    assert chain_file(toy_posterior()) == chain_file(toy_posterior())


def many(posterior: Posterior, times: int) -> Posterior:
    """The answer with its draws repeated."""
    sample = posterior.sample
    names = ("theta", "log_weight", "log_likelihood", "log_proposal", "fit_statistic")
    return replace(
        posterior, sample=replace(sample, **{n: np.concatenate([getattr(sample, n)] * times) for n in names})
    )


def test_a_chain_has_no_more_rows_than_xspec_likes() -> None:
    assert read_chain(chain_file(many(toy_posterior(), 3)))[2].shape[0] == 3000
    assert read_chain(chain_file(many(toy_posterior(), 12)))[2].shape[0] == 10_000
