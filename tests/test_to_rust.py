"""Models as Rust source: compiled without `std`, run, and the same to the last bit as a stream."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rust_cells
import unrolled as ur
from support import normal
from unrolled.cells import linear, tanh

ROOT = Path(__file__).resolve().parent.parent
STEPS = 9


def initial(net: ur.Sequential) -> ur.Sequential:
    h, c = normal(2, 5, seed=1), normal(2, 5, seed=2)
    return ur.Sequential(*net.layers, initial_state=((h, c),))


# Sizes around the vectors' widths, and every cell, layer and function there is.
MODELS: dict[str, Any] = {
    "lstm": lambda: ur.LSTM(1, 16, seed=1),
    "lstm_stack": lambda: ur.LSTM(3, 9, num_layers=3, bias=False, seed=2),
    "lstm_f64": lambda: ur.LSTM(2, 20, dtype="float64", seed=3),
    "lstm_1997": lambda: ur.LSTM(2, 11, forget_gate=False, seed=17),
    "gru": lambda: ur.GRU(2, 7, num_layers=2, seed=4),
    "gru_before": lambda: ur.GRU(2, 33, reset_after=False, seed=5),
    "rnn": lambda: ur.RNN(5, 8, seed=6),
    "rnn_relu": lambda: ur.RNN(1, 12, nonlinearity="relu", num_layers=2, seed=7),
    "rnn_sigmoid": lambda: ur.RNN(4, 5, nonlinearity="sigmoid", dtype="float64", seed=8),
    "dense": lambda: ur.Dense(3, 17, seed=9),
    "amp": lambda: initial(
        ur.Sequential(ur.LSTM(1, 5, num_layers=2, seed=10), ur.Dense(5, 1, seed=11))
    ),
    "classes": lambda: ur.Sequential(
        ur.Activation("silu"),
        ur.GRU(3, 40, seed=12),
        ur.Activation("elu", alpha=0.5),
        ur.Dense(40, 21, bias=False, seed=13),
        ur.Activation("leaky_relu"),
        ur.Activation("hard_sigmoid"),
        ur.Dense(21, 6, seed=14),
        ur.Activation("softsign"),
        ur.Activation("softmax"),
    ),
    "double": lambda: ur.Sequential(
        ur.RNN(2, 6, dtype="float64", seed=15),
        ur.Activation("tanh"),
        ur.Dense(6, 9, dtype="float64", seed=16),
        ur.Activation("sigmoid"),
        ur.Activation("relu"),
    ),
    "residual": lambda: ur.Sequential(
        ur.Activation("softsign"),
        ur.LSTM(3, 6, seed=18),
        ur.LSTM(6, 6, num_layers=2, seed=19),
        ur.Residual(since=2),
        ur.Dense(6, 2, seed=20),
        ur.Residual(),
        ur.Residual(since=1),
    ),
    "residual_f64": lambda: ur.Sequential(
        ur.Dense(1, 4, dtype="float64", seed=21),
        ur.GRU(4, 4, dtype="float64", seed=22),
        ur.Residual(since=1),
        ur.Activation("tanh"),
        ur.Residual(since=3),
        ur.Dense(4, 1, dtype="float64", seed=23),
        ur.Residual(),
    ),
    **rust_cells.MODELS,
}


# Weights stored smaller: cells of every alias, a stack, gates in groups with maps of values.
SMALLER: dict[str, Any] = {
    f"{name}_{weights}": (name, weights)
    for name, weights in [
        ("lstm", "int8"),
        ("lstm_stack", "float16"),
        ("lstm_1997", "int8"),
        ("lstm_f64", "float16"),
        ("gru", "float16"),
        ("gru_before", "int8"),
        ("rnn", "int8"),
        ("rnn_relu", "float16"),
        ("rnn_sigmoid", "int8"),
        ("residual", "int8"),
        ("everything", "int8"),
    ]
}


def inputs(net: Any) -> np.ndarray:
    size = net.in_features if isinstance(net, ur.Dense) else net.input_size
    return 2 * normal(STEPS, size, dtype=net.dtype, seed=3)


def expected(net: Any, x: np.ndarray) -> np.ndarray:
    step = net if isinstance(net, ur.Dense) else net.stream().step
    return np.stack([step(x_t) for x_t in x])


def bits(a: np.ndarray) -> np.ndarray:
    return a.view(np.uint32 if a.dtype == np.float32 else np.uint64)


def smaller(name: str) -> Any:
    """The net of the weights that the smaller ones stand for."""
    of, weights = SMALLER[name]
    return MODELS[of]().compress(weights)


def program(nets: dict[str, Any]) -> str:
    """Prints every model's outputs as numbers of their bits."""
    lines = ["use unrolled::fixed::{Fixed, Parameters};", "", "fn main() {"]
    for name, net in nets.items():
        t, u = ("f32", "u32") if net.dtype == np.float32 else ("f64", "u64")
        x = bits(inputs(net))
        lines += [
            f"    let x: [[{u}; made::{name}::INPUTS]; {STEPS}] = {x.tolist()};",
            f"    let mut state = made::{name}::State::new();",
            "    for x_t in x {",
            f"        let y = made::{name}::step(&x_t.map({t}::from_bits), &mut state);",
            f'        println!("{name} {{:?}}", y.map({t}::to_bits));',
            "    }",
        ]
    for name in rust_cells.TRAINED:
        lines += training(name, nets[name])
    return "\n".join([*lines, "}"])


def training(name: str, net: ur.Recurrent) -> list[str]:
    """Goes through all steps and back, and prints every gradient as numbers of its bits."""
    t, u = ("f32", "u32") if net.dtype == np.float32 else ("f64", "u64")
    x, dy = bits(inputs(net)).tolist(), bits(losses(net)).tolist()
    inner = f"{{ const X: [[{u}; made::{name}::INPUTS]; {STEPS}] = {x};"
    return [
        f"    {inner}",
        f"        const DY: [[{u}; made::{name}::OUTPUTS]; {STEPS}] = {dy};",
        f"        let cell = Fixed::from_parameters(&made::{name}::PARAMETERS_0_0);",
        f"        let (mut state, mut tape) = (cell.zero_state(), cell.tape::<{STEPS}>());",
        "        for x_t in X {",
        f"            cell.record(&x_t.map({t}::from_bits), &mut state, &mut tape).unwrap();",
        "        }",
        f"        let d_y = DY.map(|d| d.map({t}::from_bits));",
        "        let (mut d_state, mut d) = (cell.zero_state(), Parameters::zeros());",
        f"        let mut d_x = [[0.0; made::{name}::INPUTS]; {STEPS}];",
        "        cell.backward(&mut tape, &d_y, &mut d_state, &mut d_x, &mut d).unwrap();",
        "        let mut all: Vec<_> = d.slices().concat();",
        "        all.extend(d_x.as_flattened());",
        "        all.extend(d_state.as_ref().as_flattened());",
        f"        let all: Vec<_> = all.into_iter().map({t}::to_bits).collect();",
        f'        println!("trained_{name} {{all:?}}"); }}',
    ]


def losses(net: Any) -> np.ndarray:
    return normal(STEPS, net.hidden_size, dtype=net.dtype, seed=4)


def gradients(net: ur.Recurrent) -> np.ndarray:
    """What the program prints: by the parameters, by x, by the initial states."""
    _, _, tape = net.record(inputs(net))
    g = tape.backward(losses(net))
    order = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_p_l0")
    parts = [g.parameters[name] for name in order if name in g.parameters]
    states = g.state if isinstance(g.state, tuple) else (g.state,)
    return np.concatenate([np.ravel(a) for a in (*parts, g.input, *states)])


def ran(crate: Path, *command: str) -> str:
    """What cargo prints."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("cargo is not installed")
    # The crate is there already where Rust's own test of programs without std has run.
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "tmp" / "freestanding"
    done = subprocess.run(
        [cargo, command[0], "--offline", "-q", "--target-dir", str(target), *command[1:]],
        cwd=crate,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "RUSTFLAGS"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def crate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crate of all models, and of a program that runs them."""
    crate = tmp_path_factory.mktemp("made")
    (crate / "src").mkdir()
    nets = {name: make() for name, make in MODELS.items()}
    for name, net in nets.items():
        net.to_rust(crate / "src" / f"{name}.rs")
    for name, (of, weights) in SMALLER.items():
        nets[of].to_rust(crate / "src" / f"{name}.rs", weights=weights)
    nets |= {name: smaller(name) for name in SMALLER}
    modules = "\n".join(f"pub mod {name};" for name in nets)
    lints = "#![no_std]\n#![deny(warnings, missing_docs)]\n//! Models.\n"
    docs = modules.replace("pub mod", "/// A model.\npub mod")
    (crate / "src" / "lib.rs").write_text(
        "//! Models.\n" + lints.replace("//! Models.\n", "") + docs
    )
    (crate / "src" / "main.rs").write_text(program(nets))
    core = (ROOT / "core").as_posix()
    (crate / "Cargo.toml").write_text(
        '[package]\nname = "made"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
        f'[dependencies]\nunrolled = {{ path = "{core}", default-features = false }}\n'
        '[profile.release]\npanic = "abort"\n'
    )
    # The same versions of what the crate depends on, which are there without a network.
    shutil.copy(ROOT / "freestanding" / "Cargo.lock", crate)
    return crate


@pytest.fixture(scope="module")
def outputs(crate: Path) -> dict[str, np.ndarray]:
    found: dict[str, list[list[int]]] = {}
    for line in ran(crate, "run", "--release").splitlines():
        name, _, numbers = line.partition(" ")
        found.setdefault(name, []).append([int(n) for n in numbers.strip("[]").split(",")])
    return {name: np.array(rows) for name, rows in found.items()}


@pytest.mark.parametrize("name", [*MODELS, *SMALLER])
def test_bit_for_bit(name: str, outputs: dict[str, np.ndarray]) -> None:
    if ur.isa() == "portable":
        pytest.skip("this machine does not fuse multiply-add: its bits may differ")
    net = smaller(name) if name in SMALLER else MODELS[name]()
    y = expected(net, inputs(net))
    assert outputs[name].shape == y.shape
    assert np.array_equal(outputs[name], bits(y))
    # The inputs say something about the model: no two steps alike.
    assert len(np.unique(outputs[name], axis=0)) == STEPS


@pytest.mark.parametrize("name", rust_cells.TRAINED)
def test_trains_bit_for_bit(name: str, outputs: dict[str, np.ndarray]) -> None:
    """Forward and backward on a tape of fixed size: the gradients of Python's tape."""
    if ur.isa() == "portable":
        pytest.skip("this machine does not fuse multiply-add: its bits may differ")
    expected = gradients(MODELS[name]())
    assert np.abs(expected).max() > 1e-3
    assert np.array_equal(outputs[f"trained_{name}"][0], bits(expected))


def test_rustfmt(crate: Path) -> None:
    """What is written is formatted, but for what says that it is not to be."""
    rustfmt = shutil.which("rustfmt")
    if rustfmt is None:
        pytest.skip("rustfmt is not installed")
    files = [str(crate / "src" / f"{name}.rs") for name in MODELS]
    done = subprocess.run([rustfmt, "--edition", "2024", "--check", *files], capture_output=True)
    assert done.returncode == 0, done.stdout[-4000:].decode()


def test_lines_are_short(crate: Path) -> None:
    for name in rust_cells.MODELS:
        text = (crate / "src" / f"{name}.rs").read_text()
        cells = text[text.index("impl Cell for ") : text.index("/// What `LAYER_")]
        assert max(map(len, cells.splitlines())) <= 100, name


def test_clippy(crate: Path) -> None:
    """What is written has nothing that a stricter reader would object to."""
    ran(crate, "clippy", "--lib", "--release", "--", "-D", "warnings", "-D", "clippy::pedantic")


def test_initial_states_of_any_name(tmp_path: Path) -> None:
    """Each state begins where the model does, whatever the cell calls it."""
    net = ur.Recurrent(ur.cells.slstm, 1, 2, seed=0)
    states = [np.full((1, 2), value, dtype=np.float32) for value in (0.125, 0.25, 0.5, 0.75)]
    ur.Sequential(net, initial_state=(tuple(states),)).to_rust(tmp_path / "model.rs")
    text = (tmp_path / "model.rs").read_text()
    begin = "[[0.125, 0.125], [0.25, 0.25], [0.5, 0.5], [0.75, 0.75]]"
    assert f"unrolled::fixed::State::new({begin})" in text


def test_numbers_come_back(tmp_path: Path) -> None:
    """The text of every float, the smallest and the largest too."""
    dense = ur.Dense(7, 1, bias=False)
    weight = np.array([[1e-45, 3.4028235e38, -0.0, 1 / 3, 1e-7, 16777217, 1e16]], dtype=np.float32)
    dense.load_state_dict({"weight": weight})
    dense.to_rust(tmp_path / "model.rs")
    text = (tmp_path / "model.rs").read_text()
    literal = text.partition("Dense::new(")[2].partition("],")[0].strip("[ \n")
    found = np.array([np.float32(word) for word in literal.split(",")])
    assert bits(found).tolist() == bits(weight[0]).tolist()


@ur.cell
def twice(x: Any, h: Any) -> Any:
    """A map of what a map of a value gives."""
    return linear("b", tanh(x.a + linear("a", h * h)))


@ur.cell
def wide(x: Any, h: Any) -> Any:
    """Quotients, each of which the way back needs."""
    y = x.a
    for n in range(17):
        y = h / (y * y + (n + 1))
    return y


def test_what_cannot_be_written(tmp_path: Path) -> None:
    broken = ur.GRU(1, 2)
    state = broken.state_dict()
    state["bias_hh_l0"][1] = np.nan
    broken.load_state_dict(state)
    mistakes: list[tuple[Any, str]] = [
        (ur.LSTM(1, 2, bidirectional=True), r"layers\[0\].bidirectional: expected False"),
        (ur.LSTM(1, 2, proj_size=1), r"layers\[0\].proj_size: expected 0"),
        (ur.Sequential(ur.Activation("tanh")), "activations alone"),
        (broken, "0.bias_hh_l0: expected finite numbers"),
        (
            ur.Sequential(ur.Dense(2, 3), ur.Recurrent(ur.cells.layer_norm_lstm, 3, 4)),
            r"layers\[1\]: layer_norm_lstm: .* normalise needs the whole row",
        ),
        (ur.Recurrent(ur.cells.rnn, 1, 2, bidirectional=True), "bidirectional: expected False"),
        (ur.Recurrent(twice, 1, 2), "twice: .* one round of such maps"),
        (ur.Recurrent(wide, 1, 2), "wide: expected at most 16 slots"),
    ]
    for net, message in mistakes:
        with pytest.raises(ValueError, match=message):
            net.to_rust(tmp_path / "model.rs")
    assert not list(tmp_path.iterdir())
