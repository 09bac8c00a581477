"""`unrolled inspect`, `unrolled convert`, and the programs in docs/formats.md."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import unrolled as ur
from support import normal, same
from unrolled.__main__ import main

ROOT = Path(__file__).parent.parent
needs_h5py = pytest.mark.skipif(
    importlib.util.find_spec("h5py") is None, reason="h5py is not installed"
)
DATA = ROOT / "tests" / "data" / "formats"
PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "formats.md").read_text(), re.S)


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    lines = capsys.readouterr().out.splitlines()
    return {line.split("  ")[0]: re.split(r" {2,}", line)[1:] for line in lines if line}


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    path = DATA / "amp.nam"
    assert main(["inspect", str(path)]) == 0
    said = rows(capsys)
    assert said["format"] == ["Neural Amp Modeler"]
    assert said["bytes"] == [str(path.stat().st_size)]
    assert said["dtype"] == ["float32"]
    assert (said["input"], said["output"]) == (["1"], ["1"])
    assert said["starts from"] == ["a state of its own"]
    model = ur.load(path)
    assert said["parameters"] == [str(model.num_parameters)]
    lstm, dense = model.layers
    assert said["0"] == ["LSTM(1, 4, num_layers=2)", "1", "4", str(lstm.num_parameters)]
    assert said["1"] == ["Dense(4, 1, bias=True)", "4", "1", str(dense.num_parameters)]


def test_inspect_one_layer_and_activations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ur.save(ur.GRU(3, 5, bidirectional=True, dtype="float64"), tmp_path / "net")
    assert main(["inspect", str(tmp_path / "net")]) == 0
    said = rows(capsys)
    assert (said["dtype"], said["input"], said["output"]) == (["float64"], ["3"], ["10"])
    assert "starts from" not in said
    ur.save(ur.Sequential(ur.Activation("relu")), tmp_path / "net")
    assert main(["inspect", str(tmp_path / "net")]) == 0
    said = rows(capsys)
    assert (said["input"], said["output"], said["parameters"]) == (["any"], ["any"], ["0"])


def test_broken_numbers_can_be_inspected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = ur.Dense(1, 1)
    dense.load_state_dict({"weight": np.full((1, 1), np.nan, "f"), "bias": np.zeros(1, "f")})
    ur.save(dense, tmp_path / "net")
    assert main(["inspect", str(tmp_path / "net")]) == 0
    assert main(["convert", str(tmp_path / "net"), str(tmp_path / "net.json")]) == 1
    assert "weight: expected finite numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "more"),
    [("m.safetensors", []), ("m.json", []), ("m.nam", []), ("nameless", ["--to", "rtneural"])],
)
def test_convert(
    name: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ur.Sequential(ur.LSTM(1, 4, seed=1), ur.Dense(4, 1, seed=2))
    x = normal(9, 2, 1)
    ur.save(model, tmp_path / "from")
    assert main(["convert", str(tmp_path / "from"), str(tmp_path / name), *more]) == 0
    found = ur.load(tmp_path / name)
    assert same(found(x)[0], model(x)[0])
    assert capsys.readouterr().out == f"{tmp_path / name}: {model.num_parameters} parameters\n"


def test_convert_to_rust(tmp_path: Path) -> None:
    assert main(["convert", str(DATA / "amp.nam"), str(tmp_path / "amp.rs")]) == 0
    ur.load(DATA / "amp.nam").to_rust(tmp_path / "same.rs")
    assert (tmp_path / "amp.rs").read_bytes() == (tmp_path / "same.rs").read_bytes()
    with pytest.raises(ValueError, match="path: Rust source is only written, got"):
        ur.load(tmp_path / "amp.rs")


def test_hints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rnn, dense = ur.RNN(2, 3, nonlinearity="relu", seed=1), ur.Dense(3, 1, seed=2)
    state = {f"rnn.{k}": a for k, a in rnn.state_dict().items()}
    state |= {f"head.{k}": a for k, a in dense.state_dict().items()}
    safetensors.numpy.save_file(state, tmp_path / "in")
    said: list[Any] = [str(tmp_path / "in"), str(tmp_path / "out.safetensors")]
    assert main(["convert", *said]) == 1
    assert "unrolled convert: path: got parameters of ['head', 'rnn']" in capsys.readouterr().err
    hints = ["--layers", "rnn,tanh,head", "--nonlinearity", "relu"]
    assert main(["convert", *said, *hints]) == 0
    x = normal(5, 2, 2)
    expected = dense(ur.Activation("tanh")(rnn(x)[0]))
    assert same(ur.load(said[1])(x)[0], expected)
    assert main(["inspect", said[0], *hints, "--kind", "RNN"]) == 0


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [str(DATA / "amp.nam"), str(tmp_path / "amp.json")]
    Path(said[1]).write_text("precious")
    assert main(["convert", *said]) == 1
    error = capsys.readouterr().err
    assert "OUT: expected the name of a new file" in error and "--force" in error
    assert Path(said[1]).read_text() == "precious"
    # Also not by a link, nor onto itself.
    (tmp_path / "link.json").symlink_to(said[1])
    assert main(["convert", said[0], str(tmp_path / "link.json")]) == 1
    ur.save(ur.GRU(1, 2), tmp_path / "net.safetensors")
    assert main(["convert", *[str(tmp_path / "net.safetensors")] * 2]) == 1
    # A model that cannot be written does not cost the file that is there.
    assert main(["convert", str(tmp_path / "net.safetensors"), said[1], "--to", "nam", "--force"])
    assert Path(said[1]).read_text() == "precious"
    ur.save(ur.load(said[0]).layers[0], tmp_path / "lstm.safetensors")
    assert main(["convert", str(tmp_path / "lstm.safetensors"), said[1], "--force"]) == 0
    assert ur.load(said[1]).num_parameters > 0


def test_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What names and shapes leave open, of one layer and of several."""
    gru = ur.GRU(2, 3, seed=1)
    state = {f"rnn.{k}": a for k, a in gru.state_dict().items()}
    state["head.weight"] = normal(2, 3)
    safetensors.numpy.save_file(state, tmp_path / "in")
    said = ["inspect", str(tmp_path / "in"), "--layers", "rnn,head"]
    assert main(said) == 1
    assert "pass kind={'head': 'Dense'}" in capsys.readouterr().err
    for kind in ("Dense", "head=Dense", "head=Dense,rnn=GRU"):
        assert main([*said, "--kind", kind]) == 0
        assert "Dense(3, 2, bias=False)" in capsys.readouterr().out
    assert main([*said, "--kind", "rnn=Conv"]) == 1
    assert "kind: expected one of 'LSTM'" in capsys.readouterr().err


@needs_h5py
def test_keras_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    said = ["inspect", str(DATA / "read_out.weights.h5"), "--layers", "gru,dense"]
    assert main(said) == 1
    assert "keras_defaults=True" in capsys.readouterr().err
    assert main([*said, "--keras-defaults"]) == 0


@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_mistakes(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "none")
    more = [str(tmp_path / "out.json")] if command == "convert" else []
    assert main([command, path, *more]) == 1
    assert f"unrolled {command}: path: no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([command])
    assert ended.value.code == 2


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 2


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "docs/formats.md", "exec"), {})
