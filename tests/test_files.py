"""Files: what is written comes back, PyTorch's names, and what cannot be read is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import unrolled as ur
from support import VARIANTS, Variant, make, normal, same


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back(variant: Variant, dtype: str, tmp_path: Path) -> None:
    net = make(
        variant, num_layers=2, bidirectional=True, batch_first=True, dropout=0.25, dtype=dtype
    )
    path = tmp_path / "net.safetensors"
    ur.save(net, path)
    found = ur.load(str(path))
    assert type(found) is type(net)
    assert repr(found) == repr(net)
    assert found.config() == net.config()
    assert {k: a.tobytes() for k, a in found.state_dict().items()} == {
        k: a.tobytes() for k, a in net.state_dict().items()
    }
    x = normal(4, 3, 3, dtype=dtype)
    assert same(found(x)[0], net(x)[0])
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("name", ["net.pt", "net.ONNX", "net.weights.h5", "net.json", "net.rs"])
def test_a_name_of_another_format_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unrolled\.export writes other formats"):
        ur.save(ur.GRU(1, 2), tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_dense(tmp_path: Path) -> None:
    dense = ur.Dense(3, 2, bias=False, seed=0)
    ur.save(dense, tmp_path / "dense")
    found = ur.load(tmp_path / "dense")
    assert isinstance(found, ur.Dense)
    assert same(found(normal(4, 3)), dense(normal(4, 3)))


def test_others_can_read_it(tmp_path: Path) -> None:
    net = ur.LSTM(3, 4, proj_size=2, forget_bias=1.0)
    path = tmp_path / "net"
    ur.save(net, path)
    arrays = safetensors.numpy.load_file(path)
    assert {k: a.tobytes() for k, a in arrays.items()} == {
        k: a.tobytes() for k, a in net.state_dict().items()
    }
    with safetensors.safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["unrolled"])
    assert about == {"class": "LSTM", "version": ur.__version__, "config": net.config()}
    # What the library of that name would write, byte for byte.
    written = {"unrolled": json.dumps(about)}
    assert path.read_bytes() == safetensors.numpy.save(net.state_dict(), metadata=written)


def test_saving_replaces(tmp_path: Path) -> None:
    path = tmp_path / "net"
    ur.save(ur.GRU(1, 2), path)
    ur.save(ur.GRU(1, 3), path)
    assert ur.load(path).hidden_size == 3
    with pytest.raises(FileNotFoundError, match=r"path: no such directory: '.*none'"):
        ur.save(ur.GRU(1, 2), tmp_path / "none" / "net")
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def write(path: Path, arrays: dict[str, np.ndarray], about: Any = None) -> Path:
    metadata = None if about is None else {"unrolled": about}
    safetensors.numpy.save_file(arrays, path, metadata=metadata)
    return path


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "net"
    with pytest.raises(FileNotFoundError, match=r"path: no such file: .*net"):
        ur.load(path)
    for data in (b"", b"not a file of that kind", bytes(100)):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"path: expected a file of one of safetensors"):
            ur.load(path)
    net = ur.GRU(1, 2)
    arrays, config = net.state_dict(), net.config()

    def about(**changed: Any) -> str:
        return json.dumps({"class": "GRU", "config": config} | changed)

    wrong: list[tuple[str, str]] = [
        ("{", "metadata cannot be read"),
        ("[]", "metadata cannot be read"),
        (about(**{"class": "Conv"}), "metadata cannot be read"),
        (about(config=[]), "metadata cannot be read"),
        (about(config=config | {"hidden_size": 3}), r"does not hold what it says.*\(9, 1\)"),
        (about(config=config | {"num_layers": 2}), r"does not hold what it says.*weight_ih_l1"),
        (about(config=config | {"dtype": "float64"}), "does not hold what it says.*float32"),
        (about(config=config | {"colour": 1}), "does not hold what it says.*colour"),
    ]
    for metadata, message in wrong:
        with pytest.raises(ValueError, match=f"path: .*{message}"):
            ur.load(write(path, arrays, metadata))
    whole = write(path, arrays, about()).read_bytes()
    path.write_bytes(whole[:-4])
    with pytest.raises(ValueError, match=r"path: expected a safetensors file"):
        ur.load(path)


def test_from_pytorchs_file(tmp_path: Path) -> None:
    """A file of parameters alone says by their names and shapes what it holds."""
    net = ur.GRU(1, 2, seed=1)
    path = write(tmp_path / "parameters", net.state_dict())
    other = ur.load(path)
    assert isinstance(other, ur.GRU)
    assert same(other(normal(3, 1, 1))[0], net(normal(3, 1, 1))[0])
