"""The C interface beside RTNeural: nanoseconds a sample, in blocks of 64, on one core.

python benches/rtneural/compare.py --rtneural DIR [--xsimd DIR] [--unrolled PREFIX] [--rounds 9]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
FLAGS = ["-O3", "-march=native", "-DNDEBUG", "-std=c++17", "-w"]
SIZES = (8, 16, 20, 32, 40, 64)
GATES = {"lstm": 4, "gru": 3}


def model(kind: str, units: int) -> dict[str, Any]:
    """A layer and a read-out in RTNeural's JSON, with weights as training begins with."""
    rng = np.random.default_rng(units)
    gates, reach = GATES[kind] * units, units**-0.5

    def values(*shape: int) -> list[Any]:
        return rng.uniform(-reach, reach, shape).astype(np.float32).tolist()

    bias = values(gates) if kind == "lstm" else values(2, gates)
    weights = [values(1, gates), values(units, gates), bias]
    layer = {"type": kind, "activation": "", "shape": [None, None, units], "weights": weights}
    dense = {"type": "dense", "activation": "", "shape": [None, None, 1]}
    dense["weights"] = [values(units, 1), values(1)]
    return {"in_shape": [None, None, 1], "layers": [layer, dense]}


def build(folder: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """The contenders' commands."""
    env = os.environ | {"PKG_CONFIG_PATH": f"{options.unrolled}/lib/pkgconfig"}
    said = subprocess.check_output(
        ["pkg-config", "--cflags", "--libs", "unrolled-static"], env=env, text=True
    )
    subprocess.check_call(["g++", *FLAGS, HERE / "ours.cpp", "-o", folder / "ours", *said.split()])
    found = {"unrolled": [str(folder / "ours")]}
    xsimd = options.xsimd or options.rtneural / "modules" / "xsimd"
    # The alignment that RTNeural's own build sets for AVX.
    common = [f"-I{options.rtneural}", "-DRTNEURAL_DEFAULT_ALIGNMENT=32"]
    ends = {
        "xsimd": ["-DRTNEURAL_USE_XSIMD=1", f"-I{xsimd}/include"],
        "Eigen": ["-DRTNEURAL_USE_EIGEN=1", f"-I{options.rtneural}/modules/Eigen"],
        "STL": ["-DRTNEURAL_USE_STL=1"],
    }
    for name, own in ends.items():
        program = folder / name
        subprocess.check_call(["g++", *FLAGS, *common, *own, HERE / "theirs.cpp", "-o", program])
        for how in ("static", "dynamic"):
            found[f"RTNeural {name} {how}"] = [str(program), how]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rtneural", type=Path, required=True, help="RTNeural's source")
    parser.add_argument("--xsimd", type=Path, help="xsimd's, if not in RTNeural's modules")
    parser.add_argument("--unrolled", type=Path, default=Path("/usr/local"), help="our PREFIX")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    core = ["taskset", "-c", "0"] if shutil.which("taskset") else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contenders = build(folder, options)
        cases = [(kind, units) for kind in GATES for units in SIZES]
        times: dict[Any, list[float]] = {}
        for kind, units in cases:
            (folder / f"{kind}{units}.json").write_text(json.dumps(model(kind, units)))
        # All take turns, so that whatever else the machine does falls on each alike.
        for _ in range(options.rounds):
            for kind, units in cases:
                for contender, command in contenders.items():
                    of = [] if contender == "unrolled" else [kind, str(units)]
                    files = [folder / f"{kind}{units}.json", folder / f"{contender}.f32"]
                    said = subprocess.check_output([*core, *command, *of, *files], text=True)
                    times.setdefault((kind, units, contender), []).append(float(said))
                ours = np.fromfile(folder / "unrolled.f32", np.float32)
                for contender in contenders:
                    y = np.fromfile(folder / f"{contender}.f32", np.float32)
                    error = float(np.abs(y - ours).max())
                    assert error < 1e-3, f"{contender} computes something else: {error}"
    print(f"| ns a sample | {' | '.join(contenders)} |")
    print("|---" * (len(contenders) + 1) + "|")
    for kind, units in cases:
        row = [statistics.median(times[kind, units, contender]) for contender in contenders]
        print(f"| {kind.upper()} {units} | {' | '.join(f'{ns:.0f}' for ns in row)} |")


if __name__ == "__main__":
    main()
