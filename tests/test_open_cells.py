"""Networks of cells as formulas, against the plain reference and the crate's own cells."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from unrolled import cells
from unrolled._tolerances import TOLERANCES

GALLERY = [cell for cell in vars(cells).values() if isinstance(cell, cells.Cell)]
OWN: list[tuple[Any, Any, dict[str, Any]]] = [
    (cells.lstm, ur.LSTM, {}),
    (cells.lstm_without_forget_gate, ur.LSTM, {"forget_gate": False}),
    (cells.gru, ur.GRU, {}),
    (cells.gru_original, ur.GRU, {"reset_after": False}),
    (cells.rnn, ur.RNN, {}),
]


def everything(net: Any, x: Any, dy: Any, **how: Any) -> dict[str, Any]:
    """Outputs, states and every gradient."""
    truncate = how.pop("truncate", None)
    y, state, tape = net.record(x, **how)
    states = state if isinstance(state, tuple) else (state,)
    g = tape.backward(dy, truncate=truncate)
    d_states = g.state if isinstance(g.state, tuple) else (g.state,)
    found = {"y": y, "d_x": g.input, **g.parameters}
    found |= {f"state {n}": a for n, a in enumerate(states)}
    return found | {f"d_state {n}": a for n, a in enumerate(d_states)}


def close(
    found: dict[str, Any], expected: dict[str, Any], dtype: str, normalised: bool = False
) -> None:
    assert found.keys() == expected.keys()
    for name, a in expected.items():
        kind = "output" if name == "y" or name.startswith("state") else "gradient"
        # What cancels, as the derivative by a stabiliser, is noise on both sides.
        largest = max(float(np.abs(a).max()), TOLERANCES["cancelled"])
        error = float(np.abs(found[name].astype(np.float64) - a).max()) / largest
        loose = normalised and kind == "output" and dtype == "float32"
        entry = "reference.output.float32 normalised" if loose else f"reference.{kind}.{dtype}"
        assert error <= TOLERANCES[entry], (name, error)


@pytest.mark.parametrize("units", [9, 32, 130])
@pytest.mark.parametrize("cell", GALLERY, ids=lambda cell: cell.name)
def test_a_tape_changes_no_bit_of_the_outputs(cell: Any, units: int) -> None:
    # Where nothing is kept the last stage is a program of its own; rows are run several at a time.
    net = ur.Recurrent(cell, 3, units, seed=1)
    x = np.random.default_rng(2).normal(size=(5, 7, 3)).astype(np.float32)
    y, state = net(x)
    recorded, recorded_state, _ = net.record(x)
    np.testing.assert_array_equal(y, recorded)
    for a, b in zip(np.atleast_1d(state), np.atleast_1d(recorded_state), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = np.concatenate([net(x[:, [row]])[0] for row in range(7)], axis=1)
    np.testing.assert_array_equal(y, alone)


HOW: list[dict[str, Any]] = [
    {},
    {"lengths": [6, 0, 4]},
    {"resets": np.arange(18).reshape(6, 3) % 5 == 2},
    {"truncate": 2},
    {"checkpoint": 2},
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", GALLERY, ids=lambda cell: cell.name)
def test_a_cell_is_what_its_function_says(cell: Any, dtype: str) -> None:
    rng = np.random.default_rng(5)
    plain = ur.reference.Recurrent(cell, 4, 9, num_layers=2, bidirectional=True, seed=3)
    net = ur.Recurrent(cell, 4, 9, num_layers=2, bidirectional=True, dtype=dtype)
    net.load_state_dict({name: a.astype(dtype) for name, a in plain.state_dict().items()})
    rounded = {name: a.astype(np.float64) for name, a in net.state_dict().items()}
    plain = ur.reference.Recurrent(cell, 4, 9, num_layers=2, bidirectional=True, dtype="float64")
    plain.load_state_dict(rounded)
    x = rng.normal(size=(6, 3, 4)).astype(dtype)
    dy = rng.normal(size=(6, 3, 18)).astype(dtype)
    normalised = any(op == "normalise" for op, *_ in cell.formula()["nodes"])
    for how in HOW:
        expected = everything(plain, x.astype(np.float64), dy.astype(np.float64), **how)
        close(everything(net, x, dy, **how), expected, dtype, normalised)


@pytest.mark.parametrize(("cell", "kind", "options"), OWN, ids=lambda v: getattr(v, "name", ""))
def test_the_crates_own_cells_as_formulas(cell: Any, kind: Any, options: Any) -> None:
    rng = np.random.default_rng(6)
    own = kind(5, 17, num_layers=2, dtype="float64", seed=1, **options)
    net = ur.Recurrent(cell, 5, 17, num_layers=2, dtype="float64")
    net.load_state_dict(own.state_dict())
    x, dy = rng.normal(size=(6, 3, 5)), rng.normal(size=(6, 3, 17))
    for how in HOW:
        close(everything(net, x, dy, **how), everything(own, x, dy, **how), "float64")


def test_streams_tapes_and_copies(tmp_path: Path) -> None:
    net = ur.Recurrent(cells.slstm, 3, 10, num_layers=2, seed=2)
    x = np.random.default_rng(1).normal(size=(7, 2, 3)).astype(np.float32)
    y, state, tape = net.record(x)
    assert len(state) == len(cells.slstm.states)
    assert [s.shape for one in tape.states for s in one] == [(7, 2, 10)] * 2 * len(state)
    for own, end in zip(tape.states, state, strict=True):
        for layer, steps in enumerate(own):
            np.testing.assert_array_equal(steps[-1], end[layer])
    stream = net.stream(2)
    np.testing.assert_array_equal(np.stack([stream.step(row) for row in x]), y)
    for a, b in zip(stream.state, state, strict=True):
        np.testing.assert_array_equal(a, b)
    path = tmp_path / "net.safetensors"
    ur.save(net, path)
    for twin in (ur.load(path), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin.cell == net.cell
        assert twin.config() == net.config()
        np.testing.assert_array_equal(twin(x)[0], y)


def test_constants_and_first_values() -> None:
    slow = ur.Recurrent(cells.leaky_rnn, 3, 8, alpha=0.01, seed=4)
    fast = ur.Recurrent(cells.leaky_rnn, 3, 8, alpha=0.9, seed=4)
    x = np.ones((3, 2, 3), dtype=np.float32)
    assert np.abs(slow(x)[0]).max() < np.abs(fast(x)[0]).max() / 10
    assert slow.cell.constants["alpha"] == 0.01
    with pytest.raises(ValueError, match="alpha"):
        ur.Recurrent(cells.leaky_rnn, 3, 8, beta=0.1)
    with pytest.raises(TypeError, match="cell: expected"):
        ur.Recurrent(lambda x, h: h, 3, 8)  # type: ignore[arg-type]

    @ur.cell(p={"a": 0.5}, x={"f": 1.5})
    def made(x: Any, h: Any, *, p: Any) -> Any:
        return p.a * h + cells.tanh(x.f + h.f)

    net = ur.Recurrent(made, 2, 4, num_layers=2, seed=0)
    values = net.state_dict()
    assert (values["weight_p_l1"] == 0.5).all()
    assert (values["bias_ih_l0"] == 1.5).all()


def test_its_text_has_the_constants() -> None:
    net = ur.Recurrent(cells.leaky_rnn, 3, 8, num_layers=2, alpha=0.25)
    assert repr(net) == "Recurrent(leaky_rnn, 3, 8, num_layers=2, alpha=0.25)"


def test_a_formula_that_is_not_finite_is_not_good(capsys: Any) -> None:
    """Not even its central differences, which are NaN."""

    @ur.cell
    def logarithm(x: Any, h: Any) -> Any:
        return cells.log(x.a + h.a)

    assert not cells.check(logarithm)
    *table, said = capsys.readouterr().out.splitlines()
    assert all(line.endswith("TOO LARGE") for line in table[1:])
    assert "not every result is finite" in said


def test_a_cell_is_checked_and_explained(capsys: Any) -> None:
    assert cells.check(cells.peephole_lstm)
    table = capsys.readouterr().out
    assert "central differences" in table
    assert "d_weight_p_l0, float32" in table
    cells.explain(cells.gru_original)
    text = capsys.readouterr().out
    assert "backward, stage 0" in text
    assert "kept: " in text


def test_rows_and_threads_change_no_bit() -> None:
    net = ur.Recurrent(cells.layer_norm_lstm, 3, 20, seed=9)
    x = np.random.default_rng(2).normal(size=(9, 40, 3)).astype(np.float32)
    dy = np.ones((9, 40, 20), dtype=np.float32)
    whole = everything(net, x, dy)
    threads = ur.get_num_threads()
    try:
        ur.set_num_threads(1)
        for name, a in everything(net, x, dy).items():
            np.testing.assert_array_equal(a, whole[name])
    finally:
        ur.set_num_threads(threads)
    alone = everything(net, x[:, 7:8], dy[:, 7:8])
    np.testing.assert_array_equal(alone["y"], whole["y"][:, 7:8])
    np.testing.assert_array_equal(alone["d_x"], whole["d_x"][:, 7:8])


def test_gradient_flow() -> None:
    net = ur.Recurrent(cells.peephole_lstm, 3, 6, num_layers=2, dtype="float64", seed=1)
    x = np.random.default_rng(0).normal(size=(8, 2, 3))
    y, _, tape = net.record(x)
    g = tape.backward(np.ones_like(y))
    for name, expected in g.parameters.items():
        found = ur.flow.gradient_by_lag(tape, np.ones_like(y), parameter=name, terms="all")
        error = np.abs(found.terms.sum((0, 1)) - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCES["reordered"], name
    jacobians = ur.flow.step_jacobians(tape, layer=1)
    assert jacobians.shape == (8, 2, 12, 12)
    assert np.isfinite(ur.flow.lyapunov_exponents(net, x)).all()


@pytest.mark.parametrize("cell", [ur.cells.slstm, ur.cells.min_gru], ids=lambda cell: cell.name)
def test_the_report_and_the_monitor(cell: Any, tmp_path: Path) -> None:
    """min_gru has no map of h, slstm has four states."""
    net = ur.Recurrent(cell, 3, 8, num_layers=2, seed=0)
    x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    y, _, tape = net.record(x)
    page = tmp_path / "report.html"
    ur.flow.report(net, x, None, page)
    weight = "weight_ih" if cell is ur.cells.min_gru else "weight_hh"
    assert f"norm of the gradient of {weight}" in page.read_text(encoding="utf-8")
    monitor = ur.flow.Monitor(net, every=1)
    monitor(tape, np.ones_like(y))
    assert monitor.parameter == f"{weight}_l1"
    assert np.isfinite(monitor.history[0].by_lag).all()
    gates = ur.flow.gate_saturation(tape, 1)
    assert gates.names == ("h",)
    assert np.allclose(gates.mean[:, 0], np.abs(tape.hidden[1]).mean((1, 2)))
    with pytest.raises(AttributeError, match="tape.gates: expected the tape of an LSTM"):
        _ = tape.gates
