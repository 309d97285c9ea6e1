"""Where the files of a header are sought."""

from __future__ import annotations

from pathlib import Path

import pytest

from ogip_zoo import toy_files
from xrayflow.errors import FileError, XrayflowWarning
from xrayflow.ogip import Observation, Origin, read_observation, read_pha, write_pha
from xrayflow.ogip.locate import candidates


def named(folder: Path, response_file: str | None, name: str = "toy.pha", arf_file: str | None = "toy.arf") -> Path:
    pha = read_pha(folder / "toy.pha")
    origin = Origin(response_file=response_file, arf_file=arf_file)
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
        read_observation(named(tmp_path, "x" * 400, "src.pha"))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    toy_files(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="RESPFILE = 'folder' is not there"):
        read_observation(named(tmp_path, "folder", "src.pha"))


def test_every_place_is_tried_before_the_twins() -> None:
    places = [str(path) for path in candidates(Path("/a/b/c.pha"), "/x/r.rmf", ".rsp")]
    assert places[:3] == ["/x/r.rmf", "/a/b/r.rmf", "/a/r.rmf"]
    assert places[3:] == ["/x/r.rmf.gz", "/a/b/r.rmf.gz", "/a/r.rmf.gz"]


@pytest.mark.parametrize("said", [None, "lost.rmf"])
@pytest.mark.parametrize("name", ["src.rmf", "src.rsp", "src.rmf.gz"])
@pytest.mark.parametrize("pha", ["src.pha", "src.pi.gz"])
def test_a_response_of_the_spectrums_name_is_taken_where_the_header_helps_not(
    tmp_path: Path, said: str | None, name: str, pha: str
) -> None:
    toy_files(tmp_path)
    (tmp_path / "toy.rmf").rename(tmp_path / name)
    path = named(tmp_path, said, pha)
    what = "names no file" if said is None else "= 'lost.rmf' is not there"
    with pytest.warns(XrayflowWarning, match=rf"RESPFILE {what}; {name} beside it is taken \(--rmf FILE takes another"):
        assert found(path) == tmp_path / name


@pytest.mark.parametrize("said", [None, "lost.arf"])
def test_an_area_of_the_spectrums_name_is_taken_where_the_header_helps_not(tmp_path: Path, said: str | None) -> None:
    toy_files(tmp_path)
    (tmp_path / "toy.arf").rename(tmp_path / "src.arf")
    path = named(tmp_path, "toy.rmf", "src.pha", said)
    with pytest.warns(XrayflowWarning, match=r"ANCRFILE .*; src\.arf beside it is taken \(--arf FILE takes another\)"):
        observation = read_observation(path)
    assert observation.arf is not None
    assert observation.arf.path == tmp_path / "src.arf"


def test_what_the_header_names_comes_before_what_lies_beside(tmp_path: Path) -> None:
    toy_files(tmp_path)
    (tmp_path / "src.rmf").write_bytes((tmp_path / "toy.rmf").read_bytes())
    (tmp_path / "src.arf").write_bytes((tmp_path / "toy.arf").read_bytes())
    observation = read_observation(named(tmp_path, "toy.rmf", "src.pha"))
    assert observation.arf is not None
    assert (observation.rmf.path.name, observation.arf.path.name) == ("toy.rmf", "toy.arf")
