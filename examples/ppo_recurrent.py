"""Recurrent PPO of sb3-contrib on a CartPole that hides its velocities: as it is, and accelerated.

    pip install '.[torch]' sb3-contrib
    python examples/ppo_recurrent.py [--frames 40960] [--threads 1]

Three learners take turns in one run, from the same seed:

1. sb3-contrib as it is;
2. the same after `unrolled.torch.accelerate(model.policy)`, nothing else changed;
3. as 2, and the policy's loop over steps – taken whenever an episode begins inside a minibatch's
   sequences, which is nearly always – replaced by one call with `resets=`.

It prints frames a second, what part of the time goes where, and the reward of the last episodes,
which tells whether all three learn.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import gymnasium
import numpy as np
import torch
import unrolled.torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from unrolled._progress import progress

ENVIRONMENTS, STEPS = 8, 128
PARTS = ("rollout: recurrent", "rollout: rest", "train: recurrent forward",
         "train: recurrent backward", "train: rest")  # fmt: skip


class Masked(gymnasium.ObservationWrapper):
    """CartPole's positions without its velocities."""

    def __init__(self, env):
        super().__init__(env)
        space = env.observation_space
        self.observation_space = gymnasium.spaces.Box(
            space.low[::2], space.high[::2], dtype=np.float32
        )

    def observation(self, observation):
        return observation[::2]


def in_one_call(features, lstm_states, episode_starts, lstm):
    """The policy's `_process_sequence`, without its loop."""
    rows = lstm_states[0].shape[1]
    x = features.reshape(rows, -1, lstm.input_size).swapaxes(0, 1)
    starts = episode_starts.reshape(rows, -1).swapaxes(0, 1)
    y, states = lstm(x, lstm_states, resets=starts == 1)
    return y.transpose(0, 1).flatten(0, 1), states


class Clock:
    """Watches where a learner's time goes."""

    def __init__(self, model):
        self.spent = defaultdict(float)
        self.frames = 0
        self.training = False
        self.backward = None
        policy = model.policy
        policy._process_sequence = self.around(policy._process_sequence)
        model.train = self.timed(model.train, "train", True)
        model.collect_rollouts = self.timed(model.collect_rollouts, "rollout", False)
        for name, parameter in policy.named_parameters():
            if "lstm" in name:
                parameter.register_post_accumulate_grad_hook(self.reached)

    def timed(self, function, name, training):
        def run(*args, **kwargs):
            self.training = training
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.spent[name] += time.perf_counter() - start
            return result

        return run

    def around(self, function):
        def run(*args):
            self.finish()
            start = time.perf_counter()
            y, states = function(*args)
            name = "train: recurrent forward" if self.training else "rollout: recurrent"
            self.spent[name] += time.perf_counter() - start
            if y.requires_grad:
                y.register_hook(self.begun)
            return y, states

        return run

    def begun(self, _):
        """A gradient has come to a recurrent layer's output."""
        if self.backward is None:
            self.backward = [time.perf_counter()] * 2

    def reached(self, _):
        """A recurrent layer's parameter has its gradient."""
        if self.backward is not None:
            self.backward[1] = time.perf_counter()

    def finish(self):
        if self.backward is not None:
            self.spent["train: recurrent backward"] += self.backward[1] - self.backward[0]
            self.backward = None

    def shares(self):
        self.finish()
        spent = self.spent
        spent["rollout: rest"] = spent["rollout"] - spent["rollout: recurrent"]
        recurrent = spent["train: recurrent forward"] + spent["train: recurrent backward"]
        spent["train: rest"] = spent["train"] - recurrent
        return [spent[part] for part in PARTS]


def learner(units):
    env = make_vec_env(lambda: Masked(gymnasium.make("CartPole-v1")), ENVIRONMENTS, seed=0)
    return RecurrentPPO(
        "MlpLstmPolicy",
        env,
        n_steps=STEPS,
        batch_size=256,
        n_epochs=10,
        learning_rate=1e-3,
        gamma=0.98,
        policy_kwargs={"lstm_hidden_size": units},
        seed=0,
        device="cpu",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=40 * ENVIRONMENTS * STEPS)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    learners = {}
    for name in ("sb3-contrib", "accelerated", "and one call"):
        model = learner(options.units)
        if name != "sb3-contrib":
            summary = unrolled.torch.accelerate(model.policy)
        if name == "and one call":
            model.policy._process_sequence = in_one_call
        model.learn(2 * ENVIRONMENTS * STEPS)  # to get warm
        learners[name] = model, Clock(model)
    print(summary)

    block = ENVIRONMENTS * STEPS
    blocks = max(1, options.frames // block)
    for _ in progress(range(blocks), "learning"):
        for model, _clock in learners.values():
            model.learn(block, reset_num_timesteps=False)

    print(f"\n{blocks * block} frames each, {options.units} units, {options.threads} thread(s)")
    print(f"{'':28}" + "".join(f"{name:>16}" for name in learners))
    columns = [clock.shares() for _, clock in learners.values()]
    totals = [sum(column) for column in columns]
    rates = [blocks * block / total for total in totals]
    print(f"{'frames a second':28}" + "".join(f"{rate:16.0f}" for rate in rates))
    print(f"{'times sb3-contrib':28}" + "".join(f"{rate / rates[0]:16.2f}" for rate in rates))
    for i, part in enumerate(PARTS):
        row = "".join(
            f"{column[i]:9.1f} s {column[i] / total:4.0%}"
            for column, total in zip(columns, totals, strict=True)
        )
        print(f"{part:28}{row}")
    rewards = [np.mean([e["r"] for e in model.ep_info_buffer]) for model, _ in learners.values()]
    print(f"{'reward, last 100 episodes':28}" + "".join(f"{reward:16.0f}" for reward in rewards))


if __name__ == "__main__":
    main()
