"""Where the files of a header are sought."""

from __future__ import annotations

from pathlib import Path

import pytest

from ogip_zoo import toy_files
from xrayflow.errors import FileError
from xrayflow.ogip import Observation, Origin, read_observation, read_pha, write_pha
from xrayflow.ogip.locate import candidates


def named(folder: Path, response_file: str, name: str = "toy.pha") -> Path:
    pha = read_pha(folder / "toy.pha")
    origin = Origin(response_file=response_file, arf_file="toy.arf")
    return write_pha(folder / name, pha.channel, pha.counts, pha.exposure, origin=origin)


def found(pha: Path) -> Path:
    observation: Observation = read_observation(pha)
    return observation.rmf.path


@pytest.mark.parametrize(
    "said",
    [
        "toy.rmf",
        "/mnt/c/Users/Research/Documents/a_very_long_folder_name_of_another_machine/toy.rmf",
        "C:\\Users\\Research\\toy.rmf",
        "../elsewhere/toy.rmf",
        "toy.rmf[MATRIX]",
        "toy.rmf{1}",
    ],
)
def test_a_name_of_another_machine_is_found_in_the_folder_of_the_spectrum(tmp_path: Path, said: str) -> None:
    toy_files(tmp_path)
    assert found(named(tmp_path, said)) == tmp_path / "toy.rmf"


def test_a_path_of_the_header_comes_first(tmp_path: Path) -> None:
    toy_files(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "toy.rmf").write_bytes((tmp_path / "toy.rmf").read_bytes())
    assert found(named(tmp_path, "deep/toy.rmf")) == tmp_path / "deep" / "toy.rmf"
    assert found(named(tmp_path, str(tmp_path / "deep" / "toy.rmf"))) == tmp_path / "deep" / "toy.rmf"


def test_the_folder_above_is_searched(tmp_path: Path) -> None:
    deep = tmp_path / "obsid"
    deep.mkdir()
    pha = toy_files(deep)
    (deep / "toy.rmf").rename(tmp_path / "toy.rmf")
    assert found(pha) == tmp_path / "toy.rmf"


def test_the_folder_above_is_searched_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "obsid"
    deep.mkdir()
    toy_files(deep)
    (deep / "toy.rmf").rename(tmp_path / "toy.rmf")
    monkeypatch.chdir(deep)
    assert found(Path("toy.pha")) == tmp_path / "toy.rmf"


def test_a_packed_twin_is_found(tmp_path: Path) -> None:
    import gzip

    pha = toy_files(tmp_path)
    (tmp_path / "toy.rmf.gz").write_bytes(gzip.compress((tmp_path / "toy.rmf").read_bytes()))
    (tmp_path / "toy.rmf").unlink()
    assert found(pha) == tmp_path / "toy.rmf.gz"


def test_an_unpacked_twin_is_found(tmp_path: Path) -> None:
    toy_files(tmp_path)
    assert found(named(tmp_path, "toy.rmf.gz")) == tmp_path / "toy.rmf"


@pytest.mark.parametrize("name", ["other.pha", "other.pha.gz"])
def test_match_is_the_name_of_the_spectrum(tmp_path: Path, name: str) -> None:
    toy_files(tmp_path)
    (tmp_path / "toy.rmf").rename(tmp_path / "other.rsp")
    assert found(named(tmp_path, "%match%", name)) == tmp_path / "other.rsp"


def test_a_name_that_no_file_system_takes_is_not_found(tmp_path: Path) -> None:
    toy_files(tmp_path)
    with pytest.raises(FileError, match=r"RESPFILE = 'xxxx.*give --rmf FILE"):
        read_observation(named(tmp_path, "x" * 400))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    toy_files(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="RESPFILE = 'folder' is not there"):
        read_observation(named(tmp_path, "folder"))


def test_every_place_is_tried_before_the_twins() -> None:
    places = [str(path) for path in candidates(Path("/a/b/c.pha"), "/x/r.rmf", ".rsp")]
    assert places[:3] == ["/x/r.rmf", "/a/b/r.rmf", "/a/r.rmf"]
    assert places[3:] == ["/x/r.rmf.gz", "/a/b/r.rmf.gz", "/a/r.rmf.gz"]
