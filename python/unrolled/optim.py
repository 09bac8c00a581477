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
        self._native = _native.Optimizer(self._natives(), len(self._kept), _rate(lr))

    def _natives(self) -> list[_native.Network | _native.Dense]:
        return [module._native for module in self.modules]

    @property
    def lr(self) -> float:
        """Learning rate; may be set between steps."""
        return self._native.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._native.lr = _rate(value)

    def step(self, grads: Any) -> None:
        """Change the parameters by their gradients: those of all modules, or none.

        Threads that share the optimiser step one after another.

        Parameters
        ----------
        grads : gradients, or a sequence of them
            Those of the modules, in their order: what ``backward`` returned, or its ``parameters``.

        Raises
        ------
        ValueError, TypeError
            If they do not fit.
        MemoryError
            If there is not enough for the parameters before and after the step.

        On an error, and on Ctrl-C, nothing has changed, or everything has.
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
        self._update(arrays)

    def _update(self, grads: list[list[Array]]) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, copied: the count of steps, lr, running means by parameter."""
        step, lr, means = self._native.state()
        return {
            "step": step,
            "lr": lr,
            "state": [
                {
                    kept: _copies(split(mean, module._shapes))
                    for kept, mean in zip(self._kept, own, strict=True)
                }
                for module, own in zip(self.modules, means, strict=True)
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
        lr = _rate(mapping["lr"])
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
            loaded.append([module.fitting(f"{name}[{kept!r}]", state[kept]) for kept in self._kept])
        self._native.load(self._natives(), step, lr, loaded)

    # Pickled, and with that copied, with its modules.

    def __getstate__(self) -> dict[str, Any]:
        attributes = {k: v for k, v in self.__dict__.items() if k != "_native"}
        return {"attributes": attributes, "kept": self._native.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["attributes"])
        step, lr, means = state["kept"]
        self._native = _native.Optimizer(self._natives(), len(self._kept), lr)
        self._native.load(self._natives(), step, lr, [[[mean] for mean in own] for own in means])


def _rate(value: Any) -> float:
    lr = arguments.real("lr", value)
    if lr < 0:
        raise ValueError(f"lr: expected 0 or more, got {lr}")
    return lr


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

    def _numbers(self) -> tuple[float, float, float, float, bool]:
        return (self.lr, self.momentum, self.dampening, self.weight_decay, self.nesterov)

    def _update(self, grads: list[list[Array]]) -> None:
        self._native.sgd(self._natives(), grads, self._numbers())

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

    def _numbers(self) -> tuple[float, float, float, float, float, bool]:
        return (self.lr, *self.betas, self.eps, self.weight_decay, self._decoupled)

    def _update(self, grads: list[list[Array]]) -> None:
        self._native.adam(self._natives(), grads, self._numbers())

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
