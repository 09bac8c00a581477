"""A net in a loop that must answer every step: how long a step takes, and how long the slowest.

python examples/realtime.py
"""

import time

import numpy as np
import unrolled as ur

STEPS = 20_000

net = ur.LSTM(1, 32, seed=0)
x = np.sin(np.arange(STEPS, dtype=np.float32) / 20).reshape(STEPS, 1, 1)

stream = net.stream(batch=1)
took = np.empty(STEPS)
for t in range(STEPS):
    start = time.perf_counter()
    h = stream.step(x[t])
    took[t] = time.perf_counter() - start

median, late, worst = np.quantile(took, [0.5, 0.999, 1.0]) * 1e6
print(f"{STEPS} steps of LSTM(1, 32), each called from Python, in microseconds:")
print(f"median {median:.2f}   99.9 % within {late:.2f}   slowest {worst:.2f}")

# A stream gives what the whole sequence at once gives, to the last bit.
whole, _ = net(x)
print("last step as in one call over the sequence:", np.array_equal(h, whole[-1]))

# A new signal: the state is zero again.
stream.reset()
