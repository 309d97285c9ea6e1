"""Tensors on disk: written whole or not at all, read whole or refused with one line."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

import xrayflow.networks.store as room
from xrayflow.errors import NetworkError
from xrayflow.networks.store import HEADER, read_header, read_tensors, write_tensors

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(3, dtype=torch.int64),
    "c": torch.zeros(0),
    "d": torch.rand(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
}
TITLE = {"format_version": 1, "note": {"x": [1, 2.5, None, "words"]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tensors(tmp_path / "toy.safetensors", TENSORS, TITLE)


def test_tensors_and_header_come_back_exactly(path: Path) -> None:
    tensors, header = read_tensors(path)
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert header["note"] == TITLE["note"]
    assert read_header(path) == header
    assert [one.name for one in path.parent.iterdir()] == ["toy.safetensors"]


def test_the_folder_of_a_file_is_made_and_views_are_written(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    path = write_tensors(tmp_path / "a" / "b.safetensors", {"one": whole, "two": whole.T}, TITLE)
    assert torch.equal(read_tensors(path)[0]["two"], whole.T)


def test_any_cut_is_seen(path: Path) -> None:
    content = path.read_bytes()
    for size in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(NetworkError, match=r"toy\.safetensors: cut, corrupted or no safetensors file"):
            read_tensors(path)


def test_any_flipped_byte_is_seen(path: Path) -> None:
    content = path.read_bytes()
    read = read_tensors(path)
    for at in range(len(content)):
        broken = bytearray(content)
        broken[at] ^= 1
        path.write_bytes(broken)
        try:
            tensors, header = read_tensors(path)
        except NetworkError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
        else:
            # blanks that pad the header, or the name of the header's own hash
            assert all(header[key] == value for key, value in read[1].items())
            assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_a_flipped_byte_of_a_weight_says_corrupted(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)
    with pytest.raises(NetworkError, match="corrupted: its weights do not match their hash; fetch it anew"):
        read_tensors(path)


def test_a_changed_header_says_corrupted(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"words", b"sword"))
    with pytest.raises(NetworkError, match="corrupted: its header does not match its hash; fetch it anew"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "a safetensors file, but without a header of xrayflow; it is not one of ours"),
        ("{", "without a header of xrayflow"),
        ("[1]", "without a header of xrayflow"),
        ("[" * 100_000, "without a header of xrayflow"),
        ('{"format_version": 2}', "format 2; this version reads 1; fetch or train it anew"),
        ("{}", "format None; this version reads 1"),
    ],
)
def test_a_file_of_others_is_refused(tmp_path: Path, header: str | None, message: str) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"a": torch.zeros(2)}, metadata={} if header is None else {HEADER: header}))
    for read in (read_tensors, read_header):
        with pytest.raises(NetworkError) as found:
            read(path)
        assert message in str(found.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "bad.safetensors", {"w": torch.tensor([1.0, torch.nan])}, TITLE)
    with pytest.raises(NetworkError, match="w holds numbers that are not finite; train it anew"):
        read_tensors(path)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps({"a": [1, 2, 3]}))
    with pytest.raises(NetworkError, match="cut, corrupted or no safetensors file"):
        read_tensors(path)
    with pytest.raises(NetworkError, match=r"none\.safetensors: No such file or directory; give the path of a"):
        read_tensors(tmp_path / "none.safetensors")
    with pytest.raises(NetworkError, match="not a file; give the path of a"):
        read_tensors(tmp_path)
    with pytest.raises(NetworkError, match="give the path of a"):
        read_tensors(tmp_path / ("a" * 500))
    with pytest.raises(NetworkError, match="embedded null"):
        read_tensors("a\0b")


def test_a_file_that_is_too_large_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LARGEST_FILE", 100)
    with pytest.raises(NetworkError, match=r"\d+ bytes; at most 100 are read"):
        read_tensors(path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(NetworkError, match=r"toy\.safetensors: cannot be written \(No space left on device\)"):
        write_tensors(path, {"a": torch.zeros(3)}, TITLE)
    monkeypatch.undo()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NetworkError, match="No space left on device"):
        write_tensors(path, {"a": torch.zeros(3)}, TITLE)
    monkeypatch.undo()
    assert [one.name for one in path.parent.iterdir()] == ["toy.safetensors"]
    assert path.read_bytes() == content


def test_a_place_below_a_file_cannot_be_written(path: Path) -> None:
    with pytest.raises(NetworkError, match=r"cannot be written \(.*\); choose another --out"):
        write_tensors(path / "below.safetensors", {"a": torch.zeros(3)}, TITLE)


def test_a_header_holds_finite_numbers_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_tensors(tmp_path / "a.safetensors", {}, {**TITLE, "loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200) | st.integers(0, 200).map(lambda n: n.to_bytes(8, "little") + b"{" * n))
def test_only_errors_of_ours_come_out_of_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(NetworkError):
        read_tensors(path)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_only_errors_of_ours_come_out_of_a_damaged_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    content = bytearray(write_tensors(path, TENSORS, TITLE).read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(1, 50))] = data.draw(st.binary(max_size=50))
    path.write_bytes(content)
    try:
        tensors, _ = read_tensors(path)
    except NetworkError:
        tensors = TENSORS
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_header_is_json_that_others_can_read(path: Path) -> None:
    with safe_open(str(path), framework="pt") as file:
        assert json.loads(file.metadata()[HEADER])["note"] == TITLE["note"]
