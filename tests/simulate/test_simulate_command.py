"""`xrayflow simulate`: a file that fit reads, a library that other programs read, and one line for what cannot be."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open

import ogip_zoo
from command_zoo import Ran, Run, runner
from xrayflow import cli
from xrayflow.errors import DataError, FileError, XrayflowWarning
from xrayflow.models import parse_model
from xrayflow.ogip import Origin, read_observation, read_pha, write_pha
from xrayflow.simulate.files import Instrument, write_fake
from xrayflow.simulate.library import library_simulator, write_library

VALUES = {"TBabs.nH": 0.1, "powerlaw.PhoIndex": 1.7, "powerlaw.norm": 0.05}
MODEL = ("--model", "TBabs*powerlaw")
THETA = tuple(word for name, value in VALUES.items() for word in ("--theta", f"{name}={value}"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `xrayflow simulate` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch, "simulate")


@pytest.fixture
def toy(tmp_path: Path) -> tuple[str, ...]:
    """Options that name the toy response."""
    ogip_zoo.toy_files(tmp_path, background=True)
    return ("--rmf", str(tmp_path / "toy.rmf"), "--arf", str(tmp_path / "toy.arf"))


def refused(ran: Ran, code: int, message: str) -> bool:
    """Whether a command ended with one clear line and nothing else."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert len(ran.err.splitlines()) == 1, ran.err
    assert re.search(message, ran.err), ran.err
    return True


def test_one_spectrum_is_a_file_that_fit_reads(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    ran = run(*MODEL, *THETA, *toy, "--exposure", 200, "--seed", 4)
    assert (ran.code, ran.err) == (0, "")
    observation = read_observation(tmp_path / "simulated.pha")
    assert f"simulated.pha: {observation.pha.counts.sum():g} counts; truth in simulated.truth.json" in ran.out
    assert (observation.pha.response_file, observation.pha.arf_file) == ("toy.rmf", "toy.arf")
    assert observation.pha.exposure == 200.0
    assert observation.background is None
    truth = json.loads((tmp_path / "simulated.truth.json").read_text(encoding="utf-8"))
    assert truth["truth"] == VALUES
    assert (truth["seed"], truth["exposure"], truth["model"]) == (4, 200.0, "TBabs*powerlaw")
    assert cli.run(["fit", "simulated.pha", *MODEL, "--energies", "1-5", "--grouping", "min:50"]) == 0


def test_the_bundled_response_is_the_default(run: Run, tmp_path: Path) -> None:
    assert run(*MODEL, *THETA, "--exposure", 100, "--out", "nicer.pha").code == 0
    observation = read_observation(tmp_path / "nicer.pha")
    assert observation.pha.channel.size == 1501
    assert observation.pha.telescope == "NICER"
    assert (tmp_path / "nicer.truth.json").is_file()


def test_a_background_is_named_added_and_kept(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    shutil.copy(tmp_path / "toy.bkg", tmp_path / "own.bkg")
    before = (tmp_path / "own.bkg").read_bytes()
    ran = run(*MODEL, *THETA, *toy, "--exposure", 200, "--background", "own.bkg", "--no-noise")
    assert ran.code == 0
    assert "own.bkg[SPECTRUM]: BACKSCAL is 4, the simulated spectrum's is taken as 1" in ran.err
    observation = read_observation(tmp_path / "simulated.pha")
    assert observation.pha.background_file == "own.bkg"
    assert observation.background is not None
    run(*MODEL, *THETA, *toy, "--exposure", 200, "--no-noise", "--out", "bare.pha")
    added = observation.pha.counts - read_pha(tmp_path / "bare.pha").counts
    np.testing.assert_allclose(added, observation.background.counts * 200 / 1000 / 4, rtol=1e-9, atol=1e-9)
    assert (tmp_path / "own.bkg").read_bytes() == before


def test_a_template_gives_response_grouping_quality_and_exposure(run: Run, tmp_path: Path) -> None:
    quality = np.zeros(120)
    quality[3] = 1
    grouping = np.where(np.arange(120) % 4 == 0, 1, -1)
    ogip_zoo.toy_files(tmp_path, exposure=321.0, quality=quality, grouping=grouping, areascal=np.linspace(0.5, 1, 120))
    assert run(*MODEL, *THETA, "--template", "toy.pha").code == 0
    pha, template = (read_pha(tmp_path / name) for name in ("simulated.pha", "toy.pha"))
    assert pha.exposure == 321.0
    assert pha.detchans == template.detchans
    for name in ("grouping", "quality", "areascal", "channel"):
        np.testing.assert_array_equal(getattr(pha, name), getattr(template, name))


def test_files_in_another_folder_are_named_whole(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    assert run(*MODEL, *THETA, *toy, "--exposure", 50, "--out", "result/a.pha.gz").code == 0
    assert read_observation(tmp_path / "result" / "a.pha.gz").rmf.path == tmp_path / "toy.rmf"
    assert (tmp_path / "result" / "a.truth.json").is_file()


def test_the_seed_decides_the_file(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    for name, seed in (("a.pha", 1), ("b.pha", 1), ("c.pha", 2)):
        run(*MODEL, *THETA, *toy, "--exposure", 50, "--seed", seed, "--out", name)
    one, same, other = ((tmp_path / name).read_bytes() for name in ("a.pha", "b.pha", "c.pha"))
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((*THETA, "--exposure", "0"), 2, "0 is no time above 0"),
        ((*THETA, "--exposure", "-5"), 2, "-5 is no time above 0"),
        ((*THETA, "--exposure", "nan"), 2, "nan is no time above 0"),
        (THETA, 1, "no exposure; give --exposure SECONDS, or --template PHA"),
        ((*THETA, "--theta", "TBabs.nHH=1", "--exposure", "5"), 1, "no free parameter 'TBabs.nHH'; did you mean"),
        (("--theta", "TBabs.nH=1", "--exposure", "5"), 1, "no value for powerlaw.PhoIndex, powerlaw.norm"),
        ((*THETA, "--freeze", "TBabs.nH=1", "--exposure", "5"), 1, "has no free parameter 'TBabs.nH'"),
        ((*THETA, "--systematic", "0.7", "--exposure", "5"), 2, "--systematic 0.7: it is a fraction"),
        ((*THETA, "--exposure", "5", "--out", "no/where.pha"), 1, "no/where.pha: cannot be written"),
        ((*THETA, "--exposure", "5", "--background", "none.bkg"), 1, "none.bkg"),
        (("--prior-draws", "0"), 2, "a library of 0 spectra; give --prior-draws 1"),
        (("--prior-draws", "-3"), 2, "a library of -3 spectra"),
        (("--prior-draws", "10", "--exposure", "-1"), 2, "-1 is no time above 0"),
        (("--prior-draws", "10", "--systematic", "0.7"), 2, "--systematic 0.7: it is a fraction"),
        (
            ("--prior-draws", "10", "--systematic", "modes"),
            1,
            "a library holds errors that are independent in every bin",
        ),
        (("--prior-draws", "10", "--prior", "TBabs.nH=9"), 2, "--prior 'TBabs.nH=9': not understood"),
        (("--prior-draws", "10", "--out", "no/where"), 1, "no/where: cannot be written"),
        (("--prior-draws", "10", "--out", "."), 1, "is a folder; give --out FILE"),
        ((), 2, "give --theta NAME=VALUE for each free parameter, or --prior-draws N"),
        ((*THETA, "--prior-draws", "3"), 2, "one spectrum, or --prior-draws for a library; give one of them"),
        ((*THETA, "--prior", "TBabs.nH=1:2"), 2, "goes with --prior-draws"),
        (("--prior-draws", "3", "--background", "b.pha"), 2, "goes with --theta"),
        ((*THETA, "--theta", "tbabs.nh=1"), 2, "tbabs.nh is given twice"),
        (("--theta", "TBabs.nH"), 2, "Invalid value for --theta: 'TBabs.nH': write NAME=VALUE"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(
    run: Run, toy: tuple[str, ...], words: tuple[str, ...], code: int, message: str, tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    assert refused(run(*MODEL, *toy, *words), code, message)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_responses_that_do_not_match_are_refused(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    ogip_zoo.write_arf(tmp_path / "other.arf", energy_edges=np.linspace(0.2, 12.0, 77))
    ran = run(*MODEL, *THETA, *toy[:2], "--arf", "other.arf", "--exposure", 5)
    assert refused(ran, 1, "other.arf has 76 energies .* give an ARF and an RMF made for each other")
    ran = run(*MODEL, *THETA, "--arf", tmp_path / "toy.arf", "--exposure", 5)
    assert refused(ran, 1, "toy.arf has 150 energies")
    assert refused(run(*MODEL, *THETA, *toy[:2], "--exposure", 5), 1, "holds no effective area; give --arf FILE")


def test_a_background_of_other_channels_is_refused(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    write_pha(tmp_path / "short.bkg", np.arange(50), np.ones(50), 10.0, origin=Origin(kind="BKG"))
    ran = run(*MODEL, *THETA, *toy, "--exposure", 5, "--background", "short.bkg")
    assert refused(ran, 1, "has 50 channels, .* has 120; give a background on the source's channels")


def test_a_file_that_is_read_is_not_overwritten(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    before = (tmp_path / "toy.bkg").read_bytes()
    ran = run(*MODEL, *THETA, *toy, "--exposure", 5, "--background", "toy.bkg", "--out", "toy.bkg")
    assert refused(ran, 1, "toy.bkg: is one of the files that the simulation reads; choose another --out")
    assert (tmp_path / "toy.bkg").read_bytes() == before


def test_a_library_is_read_by_safetensors(run: Run, toy: tuple[str, ...], tmp_path: Path) -> None:
    ran = run(*MODEL, *toy, "--prior-draws", 70, "--seed", 3, "--out", "lib.safetensors")
    assert (ran.code, ran.err, ran.out) == (0, "", "lib.safetensors: 70 spectra in 97 bins\n")
    with safe_open(tmp_path / "lib.safetensors", "numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(file.metadata()["xrayflow"])
    assert found["theta"].shape == (70, 3)
    assert found["counts"].shape == found["background"].shape == found["noticed"].shape == (70, 97)
    assert all(found[name].shape == (70,) for name in ("exposure", "area", "systematic", "rate"))
    assert (found["counts"] == np.round(found["counts"])).all()
    assert found["last_channel"].shape == (97,)
    assert (header["rows"], header["seed"], header["model"]) == (70, 3, "TBabs*powerlaw")
    assert set(header) >= {"training_prior", "layout", "response", "grid", "versions", "parameters"}
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_a_library_holds_what_the_simulator_draws(
    toy: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("xrayflow.simulate.library.BATCH", 32)
    simulator = library_simulator(parse_model("TBabs*powerlaw"), Instrument(toy[1], toy[3]), (), 100.0, 0.02)
    steps: list[float] = []
    path = write_library(tmp_path / "a", simulator, 50, 9, progress=lambda step, done: steps.append(done))
    again = write_library(tmp_path / "b", simulator, 50, 9)
    assert path.read_bytes() == again.read_bytes()
    assert steps == [32 / 50, 1.0]
    generator = torch.Generator().manual_seed(9)
    batches = [simulator.sample(rows, generator) for rows in (32, 18)]
    with safe_open(path, "pt") as file:
        for name in ("theta", "counts", "exposure", "systematic"):
            wanted = torch.cat([getattr(batch, name) for batch in batches])
            assert torch.equal(file.get_tensor(name), wanted), name
        assert file.get_tensor("exposure").unique().tolist() == pytest.approx([100.0])
        assert file.get_tensor("systematic").unique().tolist() == pytest.approx([0.02])


def test_a_library_without_noise_or_systematic_error(toy: tuple[str, ...], tmp_path: Path) -> None:
    simulator = library_simulator(parse_model("powerlaw"), Instrument(toy[1], toy[3]), systematic=0.0)
    write_library(tmp_path / "a", simulator, 20, noisy=False)
    with safe_open(tmp_path / "a", "numpy") as file:
        counts = file.get_tensor("counts")
        assert not (counts == np.round(counts)).all()
        assert not file.get_tensor("systematic").any()


def test_a_library_larger_than_the_disk_is_refused(
    toy: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xrayflow.simulate.library.shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    simulator = library_simulator(parse_model("powerlaw"), Instrument(toy[1], toy[3]))
    with pytest.raises(FileError, match=r"takes .* GB, 1e-06 GB are free; give fewer --prior-draws"):
        write_library(tmp_path / "lib", simulator, 1000)
    assert not (tmp_path / "lib").exists()


def test_an_interrupted_library_leaves_nothing(
    toy: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = library_simulator(parse_model("powerlaw"), Instrument(toy[1], toy[3]))
    before = sorted(tmp_path.iterdir())

    def stop(step: str, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_library(tmp_path / "lib", simulator, 2000, progress=stop)
    assert sorted(tmp_path.iterdir()) == before


def test_the_python_face_says_what_it_wrote(toy: tuple[str, ...], tmp_path: Path) -> None:
    model = parse_model("TBabs*powerlaw")
    with warnings.catch_warnings():
        warnings.simplefilter("error", XrayflowWarning)
        faked = write_fake(tmp_path / "x.pha", model, VALUES, Instrument(toy[1], toy[3]), 20.0)
    assert (faked.pha, faked.truth) == (tmp_path / "x.pha", tmp_path / "x.truth.json")
    assert faked.counts == read_pha(faked.pha).counts.sum()
    with pytest.raises(DataError, match="no exposure"):
        write_fake(tmp_path / "y.pha", model, VALUES, Instrument(toy[1], toy[3]))
