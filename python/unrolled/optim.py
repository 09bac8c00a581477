"""Optimisers, with PyTorch's formulae and defaults.

>>> import numpy as np
>>> import unrolled as ur
>>> net, dense = ur.GRU(1, 8, seed=0), ur.Dense(8, 1, seed=1)
>>> opt = ur.optim.Adam([net, dense], lr=0.01)
>>> x = np.ones((20, 4, 1), dtype=np.float32)
>>> h, _, tape = net.record(x)
>>> loss, dy = ur.losses.mse(dense(h), x)
>>> d_dense = dense.backward(h, dy)
>>> d_net = tape.backward(d_dense.input)
>>> opt.step([d_net, d_dense])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _arguments as arguments
from . import _native
from ._arguments import Array
from ._clip import mappings
from ._gradients import split
from ._module import Module

__all__ = ["SGD", "Adam", "AdamW"]


# Up to there Adam's powers of the count are those of an exact number.
MOST_STEPS = 2**53


class Optimizer:
    """What the optimisers share: the modules, the count of steps, running means."""

    # What is kept for each parameter.
    _kept: tuple[str, ...] = ()

    def __init__(self, modules: Module | Sequence[Module], lr: float) -> None:
        self._single = isinstance(modules, Module)
        found = [modules] if isinstance(modules, Module) else modules
        if not isinstance(found, Sequence) or not all(isinstance(m, Module) for m in found):
            raise TypeError(
                "modules: expected a module or a sequence of modules, "
                f"got {arguments.kind(modules)}"
            )
        if not found:
            raise ValueError("modules: expected at least one, got none")
        if len({id(module) for module in found}) < len(found):
            raise ValueError("modules: expected each once, got one of them twice")
        self.modules = tuple(found)
        self._step = 0
        self.lr = lr
        self._state: list[dict[str, Array]] = [
            {name: np.zeros(m.num_parameters, dtype=m.dtype) for name in self._kept}
            for m in self.modules
        ]

    @property
    def lr(self) -> float:
        """Learning rate; may be set between steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        value = arguments.real("lr", value)
        if value < 0:
            raise ValueError(f"lr: expected 0 or more, got {value}")
        self._lr = value

    def step(self, grads: Any) -> None:
        """Change the parameters by their gradients.

        Parameters
        ----------
        grads : gradients, or a sequence of them
            Those of the modules, in their order: what ``backward`` returned, or its ``parameters``.

        Raises
        ------
        ValueError, TypeError
            If they do not fit; then nothing has changed.
        """
        given = mappings(grads)
        if len(given) != len(self.modules):
            raise ValueError(
                f"grads: expected {len(self.modules)}, one for each module, got {len(given)}"
            )
        arrays = [
            module.fitting(name, mapping)
            for module, (name, mapping) in zip(self.modules, given, strict=True)
        ]
        self._step += 1
        for module, a, state in zip(self.modules, arrays, self._state, strict=True):
            self._update(module._native, a, state)

    def _update(
        self,
        native: _native.Network | _native.Dense,
        grads: list[Array],
        state: dict[str, Array],
    ) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, copied: the count of steps, lr, running means by parameter."""
        return {
            "step": self._step,
            "lr": self.lr,
            "state": [
                {kept: _copies(split(a, module._shapes)) for kept, a in state.items()}
                for module, state in zip(self.modules, self._state, strict=True)
            ],
        }

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. All or nothing."""
        if not isinstance(mapping, Mapping):
            raise TypeError(f"mapping: expected a mapping, got {arguments.kind(mapping)}")
        keys = ("step", "lr", "state")
        if set(mapping) != set(keys):
            raise ValueError(f"mapping: expected the keys {list(keys)}, got {list(mapping)}")
        step = arguments.integer("mapping['step']", mapping["step"], at_least=0)
        if step >= MOST_STEPS:
            raise ValueError(f"mapping['step']: expected less than 2**53, got {step}")
        states = mapping["state"]
        if not isinstance(states, Sequence) or len(states) != len(self.modules):
            raise ValueError(
                f"mapping['state']: expected {len(self.modules)}, one for each module, "
                f"got {len(states) if isinstance(states, Sequence) else arguments.kind(states)}"
            )
        loaded = []
        for n, (module, state) in enumerate(zip(self.modules, states, strict=True)):
            name = f"mapping['state'][{n}]"
            if not isinstance(state, Mapping) or set(state) != set(self._kept):
                got = list(state) if isinstance(state, Mapping) else arguments.kind(state)
                raise ValueError(f"{name}: expected the keys {list(self._kept)}, got {got}")
            loaded.append(
                {
                    kept: np.concatenate(
                        [a.ravel() for a in module.fitting(f"{name}[{kept!r}]", state[kept])]
                    )
                    for kept in self._kept
                }
            )
        self.lr = mapping["lr"]
        self._step, self._state = step, loaded


def _copies(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: a.copy() for name, a in arrays.items()}


class SGD(Optimizer):
    """Stochastic gradient descent, as `torch.optim.SGD`.

    ::

        g <- g + weight_decay * p
        b <- g at the first step, then momentum * b + (1 - dampening) * g
        p <- p - lr * b, or p - lr * (g + momentum * b) with nesterov

    Parameters
    ----------
    modules : module or sequence of modules
    lr : float
    momentum, weight_decay, dampening : float
    nesterov : bool
        Needs momentum and no dampening.
    """

    def __init__(
        self,
        modules: Module | Sequence[Module],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self.momentum = arguments.real("momentum", momentum)
        self.weight_decay = arguments.real("weight_decay", weight_decay)
        self.dampening = arguments.real("dampening", dampening)
        self.nesterov = arguments.flag("nesterov", nesterov)
        self._kept = ("momentum_buffer",) if self.momentum else ()
        super().__init__(modules, lr)
        _native.check_sgd(self._numbers())

    def _numbers(self) -> tuple[int, float, float, float, float, bool]:
        return (
            self._step,
            self.lr,
            self.momentum,
            self.dampening,
            self.weight_decay,
            self.nesterov,
        )

    def _update(
        self,
        native: _native.Network | _native.Dense,
        grads: list[Array],
        state: dict[str, Array],
    ) -> None:
        buffer = state["momentum_buffer"] if self._kept else np.empty(0, grads[0].dtype)
        native.sgd_step(self._numbers(), grads, buffer)

    def __repr__(self) -> str:
        return (
            f"SGD(lr={self.lr}, momentum={self.momentum}, weight_decay={self.weight_decay}, "
            f"dampening={self.dampening}, nesterov={self.nesterov})"
        )


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), as `torch.optim.Adam`.

    ::

        g <- g + weight_decay * p
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        p <- p - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    modules : module or sequence of modules
    lr : float
    betas : tuple of two floats
    eps, weight_decay : float
    """

    _kept = ("exp_avg", "exp_avg_sq")
    _decoupled = False

    def __init__(
        self,
        modules: Module | Sequence[Module],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas: expected a tuple of two floats, got {arguments.shown(betas)}")
        self.betas = (arguments.real("betas[0]", betas[0]), arguments.real("betas[1]", betas[1]))
        self.eps = arguments.real("eps", eps)
        self.weight_decay = arguments.real("weight_decay", weight_decay)
        super().__init__(modules, lr)
        _native.check_adam(self._numbers())

    def _numbers(self) -> tuple[int, float, float, float, float, float, bool]:
        decay = self.weight_decay
        return (self._step, self.lr, *self.betas, self.eps, decay, self._decoupled)

    def _update(
        self,
        native: _native.Network | _native.Dense,
        grads: list[Array],
        state: dict[str, Array],
    ) -> None:
        native.adam_step(self._numbers(), grads, state["exp_avg"], state["exp_avg_sq"])

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lr={self.lr}, betas={self.betas}, eps={self.eps}, "
            f"weight_decay={self.weight_decay})"
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW`.

    The decay is ``p <- p * (1 - lr * weight_decay)``, apart from the gradient.
    Parameters as for `Adam`.
    """

    _decoupled = True

    def __init__(
        self,
        modules: Module | Sequence[Module],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(modules, lr, betas, eps, weight_decay)
