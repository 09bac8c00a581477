"""Nine speakers told apart in ten lines: the demo's training as a scikit-learn estimator.

python examples/sklearn_speakers.py
"""

from pathlib import Path

from unrolled._demo.data import speakers
from unrolled.sklearn import SequenceClassifier, unpad

train, test = speakers(Path(__file__).parent / "data")
x_train = unpad(train.x.swapaxes(0, 1), train.lengths)
x_test = unpad(test.x.swapaxes(0, 1), test.lengths)
model = SequenceClassifier("lstm", 64, bidirectional=True, random_state=0, verbose=True)
model.fit(x_train, train.speakers)
print(f"test accuracy {model.score(x_test, test.speakers):.2%} after {model.n_iter_} epochs")
