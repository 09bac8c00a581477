"""The sunspots of years never seen: a network as a scikit-learn estimator, months to years ahead.

python examples/sklearn_sunspots.py
"""

from pathlib import Path

import numpy as np
from unrolled._demo.data import sunspots
from unrolled.sklearn import Forecaster

record = sunspots(Path(__file__).parent / "data")
# The square root makes the scatter about the same at every level.
roots, first = np.sqrt(record.values), record.month(1950)
model = Forecaster(
    "gru", 32, window=240, warm_up=120, noise=0.3, epochs=300, random_state=0, verbose=True
)
model.fit(roots[:first])
for months in (1, 6, 12, 24, 36):
    skill = model.score(roots[first:], h=months)
    print(f"{months:3d} months ahead: skill {skill:5.2f} against the last value")
said = np.maximum(model.predict(12, X=roots[:-12]), 0) ** 2
print("the last twelve months, forecast the year before:", *said.round().astype(int))
print("                                        observed:", *record.values[-12:].round().astype(int))
