"""In processes of their own: few processors, many programs under way, a cache of programs on disk.

A callback that makes JAX arrays can wait for the thread that runs it, above all where there is only
one. Ours makes none, and this would hang if it did.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="jax is not installed (pip install '.[jax]')")

SCRIPT = """
import hashlib, os, sys, threading
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import jax, jax.numpy as jnp, numpy as np
import unrolled.jax as uj

params = uj.init(jax.random.key(0), "LSTM", 64, 64, 2)
xs = jnp.asarray(np.random.default_rng(0).normal(size=(4, 50, 64, 64)).astype("float32"))

@jax.jit
def step(params, x):
    g = jax.grad(lambda p: jnp.mean(uj.lstm(p, jnp.sin(x))[0] ** 2))(params)
    return jax.tree.map(lambda p, d: p - 0.1 * d, params, g)

def run(found, n):
    now = params
    # Nothing waits: programs queue up behind one another.
    for k in range(12):
        now = step(now, xs[(k + n) % 4])
    # Two in one program, which may run at once.
    both = jax.jit(lambda p: [uj.lstm(p, x)[0] for x in xs])(now)
    found[n] = b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves((now, both)))

found = {}
threads = [threading.Thread(target=run, args=(found, n)) for n in range(3)]
for t in threads: t.start()
for t in threads: t.join()
print(hashlib.sha256(b"".join(found[n] for n in range(3))).hexdigest())
"""


def test_few_processors_and_cached_programs(tmp_path: Path) -> None:
    package = str(Path(__import__("unrolled").__file__).parents[1])
    digests = []
    for processors in (1, 2):
        environment = os.environ | {
            "PYTHONPATH": package,
            "UNROLLED_NUM_THREADS": str(processors),
            # The second process runs what the first has compiled.
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        command = [sys.executable, "-c", SCRIPT, str(processors)]
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=1200, check=False
        )
        assert run.returncode == 0, run.stderr
        digests.append(run.stdout)
        if processors == 1:
            kept = {path.name for path in tmp_path.iterdir()}
            assert any("step" in name for name in kept)
    assert digests[0] == digests[1]
    # Nothing was compiled anew.
    assert {n for n in kept if n.endswith("-cache")} == {
        path.name for path in tmp_path.iterdir() if path.name.endswith("-cache")
    }
