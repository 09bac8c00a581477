"""One time step a call."""

from __future__ import annotations

from typing import Any, Generic, NoReturn, Self, TypeVar, cast

import numpy as np

from . import _arguments as arguments
from . import _native
from ._module import Network

S = TypeVar("S")


class Stream(_native.Stream, Generic[S]):
    """A network that is fed one time step a call, made by its `stream`.

    What `step` returns is, bit for bit, what a call of the network on the whole sequence gives.
    The parameters are the network's as they are at each step.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.GRU(2, 4, seed=0)
    >>> x = np.ones((10, 2), dtype=np.float32)
    >>> s = net.stream()
    >>> y = np.stack([s.step(x_t) for x_t in x])
    >>> np.array_equal(y, net(x)[0])
    True
    """

    _net: Network[S]

    def __new__(cls, net: Network[S], batch: int = 1, undone: bool = False) -> Self:
        arguments.instance("net", net, Network, "an LSTM, GRU, RNN or Recurrent")
        batch = arguments.size("batch", batch, at_least=1)
        self = super().__new__(cls, net._native, batch, undone)
        self._net = net
        return self

    @property
    def state(self) -> S:
        """The state, (layers, B, H), for an LSTM (h, c): copies.

        It can be set to what a call or another stream gave, without the B axis too if B is 1; None
        means zeros.
        """
        return cast(S, self.get_state())

    @state.setter
    def state(self, value: Any) -> None:
        if value is None:
            self.reset()
            return
        h = value[0] if isinstance(value, (tuple, list)) and len(value) else value
        self.set_state(value, unbatched=self.batch == 1 and np.ndim(h) == 2)

    def __repr__(self) -> str:
        return f"<Stream of {self.batch} rows through {self._net!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("stream: cannot be pickled or copied; make another and set its state")
