"""Tensors on disk: safetensors with a JSON header, nothing that could run.

A file is read whole or refused with one line: its size, its header, a hash over all tensors and one over the header,
and that all numbers are finite are checked. Files are written under a temporary name and renamed. Networks and
checkpoints of trainings go this way.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from xrayflow.errors import FileError, NetworkError
from xrayflow.files import OTHER_OUT, write_file

FORMAT_VERSION = 1
HEADER = "xrayflow"
"""The key of our header among a file's metadata."""

SUFFIX = ".safetensors"
LARGEST_FILE = 512 * 1024 * 1024
"""Bytes of a network or checkpoint."""


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Path:
    """Tensors with a JSON header; the hashes of both go into it.

    Args:
        path: The file; an existing one is replaced when the new one is complete. Its folder is made.
        tensors: By name.
        header: Of JSON's kinds; numbers must be finite.

    Raises:
        NetworkError: The place cannot be written.
    """
    path = Path(path)
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    plain = json.loads(json.dumps({**header, "sha256": _hash(kept)}, allow_nan=False))
    text = json.dumps({**plain, "header_sha256": _hash_header(plain)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, save(kept, metadata={HEADER: text}), OTHER_OUT)
    except OSError as error:
        raise NetworkError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
    except FileError as error:
        raise NetworkError(str(error)) from None
    return path


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header, checked.

    Args:
        path: The file.

    Raises:
        NetworkError: The file is missing, too large, cut, corrupted, or not ours.
    """
    path = Path(path)
    with open_tensors(path, LARGEST_FILE) as file:
        header = _header(path, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if header.get("sha256") != _hash(tensors):
        raise NetworkError(f"{path}: corrupted: its weights do not match their hash; fetch it anew")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NetworkError(f"{path}: {name} holds numbers that are not finite; train it anew")
    return tensors, header


def read_header(path: str | Path) -> dict[str, Any]:
    """The header alone, quickly; the tensors are not checked.

    Args:
        path: The file.

    Raises:
        NetworkError: The file is missing, broken or not ours.
    """
    with open_tensors(Path(path), LARGEST_FILE) as file:
        return _header(Path(path), file.metadata())


def open_tensors(path: Path, largest: int) -> Any:
    """A safetensors file whose tensors are read one by one.

    Args:
        path: The file.
        largest: Bytes.

    Returns:
        What `safetensors.safe_open` returns, a context manager.

    Raises:
        NetworkError: It is missing, no file, too large, or no safetensors file.
    """
    try:
        size = path.stat().st_size
        is_file = path.is_file()
    except (OSError, ValueError) as error:  # a name may be too long, or hold a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise NetworkError(f"{path}: {why}; give the path of a {SUFFIX} file") from None
    if not is_file:
        raise NetworkError(f"{path}: not a file; give the path of a {SUFFIX} file")
    if size > largest:
        raise NetworkError(f"{path}: {size} bytes; at most {largest} are read")
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise NetworkError(f"{path}: cut, corrupted or no safetensors file ({error}); fetch it anew") from None


def read_json(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Our header among the metadata of a safetensors file.

    Args:
        path: The file, for the error line.
        metadata: Of the file.

    Raises:
        NetworkError: There is none.
    """
    try:
        header = json.loads((metadata or {})[HEADER])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise NetworkError(f"{path}: a safetensors file, but without a header of xrayflow; it is not one of ours")
    return header


def _header(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    header = read_json(path, metadata)
    found = header.get("format_version")
    if found != FORMAT_VERSION:
        raise NetworkError(f"{path}: format {found!r}; this version reads {FORMAT_VERSION}; fetch or train it anew")
    if header.pop("header_sha256", None) != _hash_header(header):
        raise NetworkError(f"{path}: corrupted: its header does not match its hash; fetch it anew")
    return header


def _hash_header(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _hash(tensors: Mapping[str, Tensor]) -> str:
    """Over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
