"""CoreAudioML's JSON, and what RTNeural's has for a skip: as the programs compute, and refused."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal, same
from test_formats_refused import DATA, edited, item, refuse
from tolerances import assert_close
from unrolled.__main__ import main

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
FORMAT = "coreaudioml"


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def stepped(about: Any, x: np.ndarray) -> np.ndarray:
    """`SimpleRNN`, written again from its text and PyTorch's formulas, in double precision."""
    model, state = about["model_data"], {k: np.array(a) for k, a in about["state_dict"].items()}
    unit, layers, hidden = (model[k] for k in ("unit_type", "num_layers", "hidden_size"))
    h, c = np.zeros((layers, hidden)), np.zeros((layers, hidden))
    found = []
    for row in x.astype("float64"):
        signal = row
        for n in range(layers):
            of_x = state[f"rec.weight_ih_l{n}"] @ signal + state[f"rec.bias_ih_l{n}"]
            of_h = state[f"rec.weight_hh_l{n}"] @ h[n] + state[f"rec.bias_hh_l{n}"]
            if unit == "LSTM":
                i, f, g, o = np.split(of_x + of_h, 4)
                c[n] = sigmoid(f) * c[n] + sigmoid(i) * np.tanh(g)
                h[n] = sigmoid(o) * np.tanh(c[n])
            elif unit == "GRU":
                (xr, xz, xn), (hr, hz, hn) = np.split(of_x, 3), np.split(of_h, 3)
                r, z = sigmoid(xr + hr), sigmoid(xz + hz)
                h[n] = (1 - z) * np.tanh(xn + r * hn) + z * h[n]
            else:
                h[n] = np.tanh(of_x + of_h)
            signal = h[n]
        y = state["lin.weight"] @ signal
        if model["bias_fl"]:
            y = y + state["lin.bias"]
        found.append(y + row[: model["skip"]] if model["skip"] else y)
    return np.array(found)


ROWS = {"LSTM": 4, "GRU": 3, "RNN": 1}
UNITS = list(itertools.product(ROWS, (0, 1), (False, True)))


def written(unit: str, skip: int, bias: bool, outputs: int = 1, layers: int = 2) -> Any:
    """A file, by hand: no two numbers alike, and none so large that rounding grows from step to
    step."""
    inputs, hidden = 3, 5
    model = {
        "model": "SimpleRNN",
        "input_size": inputs,
        "skip": skip * outputs,
        "output_size": outputs,
        "unit_type": unit,
        "num_layers": layers,
        "hidden_size": hidden,
        "bias_fl": bias,
    }
    state, rows = {}, ROWS[unit] * hidden
    for n in range(layers):
        state[f"rec.weight_ih_l{n}"] = 0.4 * normal(rows, hidden if n else inputs, seed=4 * n)
        state[f"rec.weight_hh_l{n}"] = 0.4 * normal(rows, hidden, seed=4 * n + 1)
        state[f"rec.bias_ih_l{n}"] = 0.4 * normal(rows, seed=4 * n + 2)
        state[f"rec.bias_hh_l{n}"] = 0.4 * normal(rows, seed=4 * n + 3)
    state["lin.weight"] = 0.4 * normal(outputs, hidden, seed=20)
    if bias:
        state["lin.bias"] = 0.4 * normal(outputs, seed=21)
    return {"model_data": model, "state_dict": {k: a.tolist() for k, a in state.items()}}


def file(path: Path, about: Any) -> Path:
    path.write_text(json.dumps(about))
    return path


@pytest.mark.parametrize(("unit", "skip", "bias"), UNITS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_step_by_step(unit: str, skip: int, bias: bool, dtype: str, tmp_path: Path) -> None:
    for outputs, layers in ((1, 1), (2, 2)):
        about = written(unit, skip, bias, outputs, layers)
        path, x = file(tmp_path / "model", about), 0.5 * normal(30, 3, dtype=dtype)
        hints = {"dtype": dtype} if dtype == "float64" else {}
        model = ur.load(path, **hints)
        kinds = [type(layer).__name__ for layer in model.layers]
        assert kinds == [unit, "Dense", "Residual"][: 2 + skip]
        assert model.dtype == dtype and model.layers[1].bias is bias
        stream = model.stream()
        y = np.stack([stream.step(x_t) for x_t in x])
        assert_close(y, stepped(about, x), f"reference.output.{dtype}", unit)
        first = ur.load(path, **hints, batch_first=True)
        assert same(first(x[None])[0][0], y)
        # What is written is what was there, number by number, and the same model.
        ur.export(model, tmp_path / "again", FORMAT)
        assert json.loads((tmp_path / "again").read_text()) == about
        # RTNeural's way of saying it, where it has one.
        if unit != "RNN" and skip * outputs < 2:
            ur.export(model, tmp_path / "rtneural.json")
            assert json.loads((tmp_path / "rtneural.json").read_text()).get("in_skip", 0) == skip
            other = ur.load(tmp_path / "rtneural.json", **hints)
            assert repr(other).count("Residual") == skip
            # Two biases became one.
            assert_close(other(x)[0], y, f"reference.output.{dtype}", "RTNeural")


@needs_torch
@pytest.mark.parametrize(("unit", "skip", "bias"), UNITS)
def test_as_pytorch(unit: str, skip: int, bias: bool, tmp_path: Path) -> None:
    import torch

    about = written(unit, skip, bias)
    rec = getattr(torch.nn, unit)(3, 5, 2).double()
    lin = torch.nn.Linear(5, 1, bias=bias).double()
    whole = torch.nn.ModuleDict({"rec": rec, "lin": lin})
    given = {k: torch.tensor(a, dtype=torch.double) for k, a in about["state_dict"].items()}
    whole.load_state_dict(given)
    x = normal(20, 4, 3, dtype="float64")
    with torch.no_grad():
        read = torch.from_numpy(x)
        expected = lin(rec(read)[0]) + (read[:, :, :skip] if skip else 0)
    y, _ = ur.load(file(tmp_path / "model", about), dtype="float64")(x)
    assert_close(y, expected.numpy(), "reference.output.float64", unit)
    # And a model of ours in their file, as `load_model` fills a module from it.
    net = getattr(ur, unit)(3, 5, 2, bias=False, dtype="float64", seed=1)
    dense = ur.Dense(5, 1, bias=bias, dtype="float64", seed=2)
    ours = ur.Sequential(net, dense, *[ur.Residual()] * skip)
    ur.export(ours, tmp_path / "ours", FORMAT)
    state = json.loads((tmp_path / "ours").read_text())["state_dict"]
    assert [*state] == [*whole.state_dict()]
    whole.load_state_dict({k: torch.tensor(a, dtype=torch.double) for k, a in state.items()})
    with torch.no_grad():
        expected = lin(rec(read)[0]) + (read[:, :, :skip] if skip else 0)
    assert_close(ours(x)[0], expected.numpy(), "reference.output.float64", unit)


def test_convert_and_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = str(DATA / "proteus.json"), str(tmp_path / "model.safetensors")
    assert main(["convert", path, out]) == 0
    assert main(["convert", out, str(tmp_path / "back"), "--to", FORMAT]) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "back")]) == 0
    said = capsys.readouterr().out
    assert "CoreAudioML JSON" in said and "Residual()" in said
    assert json.loads((tmp_path / "back").read_text()) == json.loads(Path(path).read_text())


ABOUT, STATE = "model_data", "state_dict"
WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (item(ABOUT, "model", value="RecNet"), "model_data.model: expected SimpleRNN.* got RecNet"),
    (item(ABOUT, "model", value=None), "model_data.model: expected a string, got None"),
    (item("training_info", value={}), "path: training_info: expected no such key"),
    (item(ABOUT, "sample_rate", value=44100), "model_data.sample_rate: expected no such key"),
    (item(ABOUT, "unit_type", value="LSTMCell"), "unit_type: expected one of LSTM, GRU, RNN, got"),
    (item(ABOUT, "unit_type", value="GRU"), r"state_dict.rec: weight_ih_l0: .*\(12, 2\) by the"),
    (item(ABOUT, "skip", value=2), "skip: expected 0 or output_size = 1, got 2"),
    (item(ABOUT, "skip", value=True), "skip: expected an integer >= 0, got True"),
    (item(ABOUT, "skip", value=None), "skip: expected an integer >= 0, got None"),
    (lambda about: about[ABOUT].pop("skip"), "skip: expected an integer >= 0, got None"),
    (item(ABOUT, "input_size", value=1), r"rec: weight_ih_l0: .*\(16, 1\) by the configuration"),
    (item(ABOUT, "input_size", value=10**18), "rec: weight_ih_l0: expected shape"),
    (item(ABOUT, "hidden_size", value=10**9), "rec: weight_ih_l0: expected shape"),
    (item(ABOUT, "hidden_size", value=2.0), "hidden_size: expected an integer >= 1, got 2.0"),
    (item(ABOUT, "num_layers", value=10**18), "holds weight_ih_l2; got none"),
    (item(ABOUT, "num_layers", value=1), "rec: got .*'weight_ih_l1'"),
    (item(ABOUT, "num_layers", value=0), "num_layers: expected an integer >= 1, got 0"),
    (item(ABOUT, "output_size", value=3), "skip: expected 0, got 1"),
    (item(ABOUT, "bias_fl", value=1), "bias_fl: expected true or false, got 1"),
    (item(ABOUT, "bias_fl", value=False), r"state_dict.lin: got \['bias'\]"),
    (item(ABOUT, value=[]), r"path: model_data: expected an object, got \[\]"),
    (item(STATE, value=[1]), "path: state_dict: expected an object, got list"),
    (item(STATE, value={}), "rec says, by its configuration, that it holds weight_ih_l0; got"),
    (item(STATE, "rec.weight_hr_l0", value=[[1]]), "state_dict.rec.weight_hr_l0: expected no such"),
    (item(STATE, "rec.weight_ih_l0_reverse", value=[[1]]), "rec.weight_ih_l0_reverse: expected no"),
    (item(STATE, "rec.weight", value=[[1]]), r"state_dict.rec: got \['weight'\]"),
    (item(STATE, "rec.weight_ih_l00", value=[[1]]), r"state_dict.rec: got \['weight_ih_l00'\]"),
    (item(STATE, "lin.weight", value=[1]), "state_dict.lin.weight: expected numbers in lists 2"),
    (item(STATE, "lin.weight", value=[[1.0]]), r"lin: weight: expected shape \(1, 4\) .*\(1, 1\)"),
    (item(STATE, "lin.bias", value=["1"]), "lin.bias: .* got other things"),
    (item(STATE, "lin.bias", value=[float("nan")]), r"lin.bias: expected finite .* got nan at"),
    (item(STATE, "rec.bias_hh_l1", 3, value=1e39), r"rec.bias_hh_l1: .* got inf at \[3\]"),
    (lambda about: about[STATE].pop("lin.bias"), "lin says, .* that it holds bias; got none"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_refused(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    refuse(edited(tmp_path / "model", "proteus.json", change), message)


def test_hints(tmp_path: Path) -> None:
    path = DATA / "proteus.json"
    refuse(path, "dtype: expected 'float32' or 'float64', got 'float16'", dtype="float16")
    refuse(path, "kind: no argument for CoreAudioML JSON, which", TypeError, kind="LSTM")


def test_what_it_cannot_hold(tmp_path: Path) -> None:
    dense = ur.Dense(2, 1)
    mistakes: list[tuple[Any, str]] = [
        (ur.LSTM(1, 2), r"net: expected a Sequential of an LSTM, GRU or RNN.* got LSTM\(1, 2\)"),
        (dense, "net: expected a Sequential of an LSTM"),
        (ur.Sequential(dense, ur.LSTM(1, 2)), "net: expected a Sequential of an LSTM"),
        (ur.Sequential(ur.Recurrent(ur.cells.rnn, 1, 2), dense), "net: expected a Sequential of"),
        (
            ur.Sequential(ur.LSTM(1, 2), dense, ur.Activation("tanh")),
            r"layers\[2\]: expected Residual\(\) or nothing, got Activation\('tanh'\)",
        ),
        (
            ur.Sequential(ur.LSTM(1, 2), dense, ur.Residual(since=1)),
            r"layers\[2\]: expected Residual\(\) or nothing, got Residual\(since=1\)",
        ),
        (
            ur.Sequential(ur.LSTM(1, 2), dense, ur.Residual(), ur.Residual()),
            "net: expected a Sequential of an LSTM",
        ),
        (
            ur.Sequential(ur.LSTM(1, 1, bidirectional=True), dense),
            r"layers\[0\].bidirectional: expected False",
        ),
        (ur.Sequential(ur.LSTM(1, 3, proj_size=2), dense), r"proj_size: expected 0, .* got 2"),
        (ur.Sequential(ur.LSTM(1, 2, forget_gate=False), dense), "forget_gate: expected True"),
        (ur.Sequential(ur.GRU(1, 2, reset_after=False), dense), "reset_after: expected True"),
        (ur.Sequential(ur.RNN(1, 2, nonlinearity="relu"), dense), "nonlinearity: expected tanh"),
        (ur.Sequential(ur.GRU(1, 2), dense, initial_state=True), "expected no initial_state"),
    ]
    for net, message in mistakes:
        with pytest.raises(ValueError, match=message):
            ur.export(net, tmp_path / "model.json", FORMAT)
    assert not list(tmp_path.iterdir())


# RTNeural's in_skip, which AIDA-X reads.


def skipping(layers: Any, value: Any, width: int = 2) -> Any:
    return {"in_shape": [None, None, width], "layers": layers, "in_skip": value}


LSTM = json.loads((DATA / "rtneural.json").read_text())["layers"][0]
DENSE = {
    "type": "dense",
    "activation": "tanh",
    "shape": [None, None, 1],
    "weights": [[[0.5], [-0.25], [1.0], [2.0]], [0.125]],
}


def test_in_skip(tmp_path: Path) -> None:
    """AIDA-X: ``out[i] += model.forward(…)``, whose first input out[i] is."""
    without = ur.load(file(tmp_path / "model", skipping([LSTM, DENSE], 0)))
    x = normal(9, 3, 2)
    for value in (1, 1.0):
        net = ur.load(file(tmp_path / "model", skipping([LSTM, DENSE], value)))
        assert same(net(x)[0], without(x)[0] + x[..., :1])
    ur.export(net, tmp_path / "again.json")
    about = json.loads((tmp_path / "again.json").read_text())
    assert about["in_skip"] == 1 and [m["type"] for m in about["layers"]] == [
        "lstm",
        "dense",
        "activation",
    ]
    assert same(ur.load(tmp_path / "again.json")(x)[0], net(x)[0])
    ur.export(without, tmp_path / "again.json")
    assert "in_skip" not in json.loads((tmp_path / "again.json").read_text())


@pytest.mark.parametrize("value", [2, -1, 0.5, True, "1", [1], {}])
def test_in_skip_of_other_values(value: Any, tmp_path: Path) -> None:
    path = file(tmp_path / "model", skipping([LSTM, DENSE], value))
    refuse(path, "path: in_skip: expected 0 or 1, got")


def test_in_skip_of_several_outputs(tmp_path: Path) -> None:
    path = file(tmp_path / "model", skipping([LSTM], 1))
    refuse(path, "path: in_skip: expected 0 in a model of 4 outputs, got 1")


def test_sums_that_rtneural_and_nam_do_not_have(tmp_path: Path) -> None:
    lstm, dense = ur.LSTM(2, 2), ur.Dense(2, 1)
    expected = r"expected Residual\(\) alone, as the last layer of a model of one output, .*, got"
    for net, at in (
        (ur.Sequential(lstm, ur.Residual()), 1),
        (ur.Sequential(lstm, dense, ur.Residual(since=1)), 2),
        (ur.Sequential(lstm, dense, ur.Residual(), ur.Activation("tanh")), 2),
        (ur.Sequential(lstm, dense, ur.Residual(), ur.Residual()), 2),
    ):
        with pytest.raises(ValueError, match=rf"layers\[{at}\]: {expected} Residual"):
            ur.export(net, tmp_path / "model.json")
    with pytest.raises(ValueError, match=r"LSTM and a Dense, got LSTM.*, Dense.*, Residual\(\)"):
        ur.export(ur.Sequential(lstm, dense, ur.Residual()), tmp_path / "model.nam")
    assert not list(tmp_path.iterdir())
