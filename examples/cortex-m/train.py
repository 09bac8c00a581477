"""Trains the model of this program on monthly sunspot numbers, and writes it and what it must give.

python examples/cortex-m/train.py

The model says the next month from all before; a month it is far off from is an odd one. Written
are ``src/model.rs``, by `Sequential.to_rust`, and ``src/data.rs``: months it was not trained on,
bits of what the model says of them, and a hash of its parameters after a step of training on them,
for machines that fuse multiply-add and for those that do not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import unrolled as ur

HERE = Path(__file__).parent
UNITS, WINDOW = 16, 24
TRAINED, SHOWN = 1200, 400
# The levels that stand for the others, by whether they fuse.
LEVELS = {"UNFUSED": "portable", "FUSED": "avx2"}


def months() -> np.ndarray:
    """The monthly numbers of complete years, about 0 to 2.5."""
    lines = (HERE.parent / "data" / "sunspots_monthly.dat").read_text().splitlines()
    years = [line.split() for line in lines if line[:4].isdigit() and len(line.split()) == 13]
    return np.array([year[1:] for year in years], np.float32).ravel() / np.float32(100)


def train(x: np.ndarray) -> ur.Sequential:
    lstm, dense = ur.LSTM(1, UNITS, seed=0), ur.Dense(UNITS, 1, seed=0)
    optimiser = ur.optim.Adam([lstm, dense], lr=5e-3)
    rng = np.random.default_rng(0)
    for _ in range(600):
        starts = rng.integers(0, TRAINED - 97, 16)
        window = np.stack([x[s : s + 97] for s in starts], axis=1)[..., None]
        h, _, tape = lstm.record(window[:-1])
        _, d_y = ur.losses.mse(dense(h), window[1:])
        read_out = dense.backward(h, d_y)
        gradients = [tape.backward(read_out.input), read_out]
        ur.clip_grad_norm(gradients, 1.0)
        optimiser.step(gradients)
    return ur.Sequential(lstm, dense)


def said(net: ur.Sequential, x: np.ndarray) -> np.ndarray:
    return net(x[:, None, None])[0].ravel()


def adapted(lstm: ur.LSTM, dense: ur.Dense, x: np.ndarray) -> int:
    """A hash of the LSTM's parameters after one step of Adam on one window, read-out held fixed."""
    h, _, tape = lstm.record(x[:WINDOW, None, None])
    error = dense(h).ravel() - x[1 : WINDOW + 1]
    weight = dense.state_dict()["weight"].ravel()
    d_h = (np.float32(2) * error)[:, None, None] * weight
    gradients = tape.backward(d_h.astype(np.float32))
    ur.optim.Adam([lstm], lr=1e-3).step([gradients])
    hashed = 0x811C9DC5
    state = lstm.state_dict()
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        for word in state[name].ravel().view(np.uint32):
            hashed = (hashed ^ int(word)) * 0x01000193 & 0xFFFFFFFF
    return hashed


def array(name: str, kind: str, words: list[str], says: str) -> str:
    lines, line = [], "   "
    for word in words:
        if len(line) + len(word) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {word},"
    body = "\n".join([*lines, line])
    head = f"/// {says}\n#[rustfmt::skip]\npub const {name}: [{kind}; {len(words)}] = ["
    return f"{head}\n{body}\n];\n"


def main() -> None:
    x = months()
    shown = x[TRAINED : TRAINED + SHOWN]
    net = train(x)
    net.to_rust(HERE / "src" / "model.rs")
    parts = ["//! Written by `train.py`; not to be edited.\n"]
    parts.append(array("MONTHS", "f32", [str(v) for v in shown], "Sunspots of a month, by 100."))
    read_out = net.layers[1].state_dict()
    for name, key in (("READ_OUT", "weight"), ("BIAS", "bias")):
        words = [str(v) for v in read_out[key].ravel()]
        parts.append(array(name, "f32", words, f"What h is read out by: its {key}."))
    for kind, isa in LEVELS.items():
        ur.set_max_isa(isa)
        if ur.isa() != isa:
            raise SystemExit(f"this machine lacks {isa}, got {ur.isa()}")
        # A network keeps the level it was made for.
        lstm, dense = ur.LSTM(1, UNITS), ur.Dense(UNITS, 1)
        lstm.load_state_dict(net.layers[0].state_dict())
        dense.load_state_dict(net.layers[1].state_dict())
        y = said(ur.Sequential(lstm, dense), shown)
        print(f"{isa}: mean squared error {np.mean((y[:-1] - shown[1:]) ** 2):.4f}")
        bits = [f"0x{word:08x}" for word in y.view(np.uint32)]
        parts.append(array(kind, "u32", bits, f"Bits of what the model says, at level {isa}."))
        parts.append(
            f"/// A hash of the parameters after a step of training, at level {isa}.\n"
            f"pub const ADAPTED_{kind}: u32 = 0x{adapted(lstm, dense, shown):08x};\n"
        )
    (HERE / "src" / "data.rs").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
