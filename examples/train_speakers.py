"""Nine speakers told apart by a bidirectional LSTM: the demo's training without the demo.

python examples/train_speakers.py
"""

from pathlib import Path

import numpy as np
import unrolled as ur
from unrolled._demo.data import speakers

train, test = speakers(Path(__file__).parent / "data")
net = ur.LSTM(12, 64, bidirectional=True, seed=0)
head = ur.Dense(128, 9, seed=1)
optimiser = ur.optim.Adam([net, head], lr=1e-2)
rng = np.random.default_rng(0)


def summary(h):
    """The last hidden states of both directions, side by side."""
    return np.concatenate([h[0], h[1]], axis=-1)


for epoch in range(1, 61):
    for rows in np.array_split(rng.permutation(len(train)), 9):
        batch = train.rows(rows)
        y, (h, c), tape = net.record(batch.x, lengths=batch.lengths)
        loss, d_logits = ur.losses.cross_entropy(head(summary(h)), batch.speakers)

        g_head = head.backward(summary(h), d_logits)
        d_h = np.stack(np.split(g_head.input, 2, axis=-1))
        g_net = tape.backward(np.zeros_like(y), (d_h, np.zeros_like(c)))
        ur.clip_grad_norm([g_net, g_head], 1.0)
        optimiser.step([g_net, g_head])
    if epoch % 10 == 0:
        h, _ = net(test.x, lengths=test.lengths)[1]
        right = np.mean(head(summary(h)).argmax(axis=-1) == test.speakers)
        print(f"epoch {epoch:2d}  loss of the last batch {loss:.4f}  test accuracy {right:.2%}")
