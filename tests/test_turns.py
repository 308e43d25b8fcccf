"""Runs that take turns: each does what it does by itself."""

import random
import threading

import numpy as np
import pytest
import torch

import dip.turns
from dip.turns import clock, hand_over, is_shown, take_turns

CPU = torch.device("cpu")


def draw(seed, steps):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    drawn = []
    for _ in range(steps):
        drawn.append((random.random(), np.random.random(), torch.rand(1).item()))
        hand_over()
    return drawn


def test_each_draws_the_numbers_that_it_draws_by_itself():
    alone = {str(seed): draw(seed, seed) for seed in (3, 1, 2)}
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert take_turns({name: lambda n=int(name): draw(n, n) for name in alone}, CPU) == alone
    assert torch.equal(torch.get_rng_state(), before)


def test_one_at_a_time_goes_on_and_those_that_have_ended_are_passed_over():
    order, active = [], []

    def go(name, steps):
        for _ in range(steps):
            active.append(name)
            order.append(name)
            assert active == [name]
            active.clear()
            hand_over()

    take_turns({"a": lambda: go("a", 1), "b": lambda: go("b", 3), "c": lambda: go("c", 2)}, CPU)
    assert "".join(order) == "abcbcb"


def test_the_others_go_on_after_an_error_which_is_raised_in_the_end():
    done = []

    def fail():
        hand_over()
        raise ValueError("no")

    def succeed():
        for _ in range(3):
            hand_over()
        done.append(True)

    with pytest.raises(ValueError, match="no"):
        take_turns({"fails": fail, "succeeds": succeed}, CPU)
    assert done == [True]
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if type(t).__name__ == "Turn"]


def test_the_first_is_shown_and_the_time_of_the_others_is_not_its_own(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(dip.turns.time, "monotonic", lambda: now[0])

    def spend(seconds, times):
        started = clock()
        for _ in range(times):
            now[0] += seconds
            hand_over()
        return is_shown(), clock() - started

    found = take_turns({"a": lambda: spend(1, 2), "b": lambda: spend(10, 3)}, CPU)
    assert found == {"a": (True, 2), "b": (False, 30)}


def test_one_alone_goes_on_in_its_own_thread():
    assert take_turns({"a": threading.current_thread}, CPU) == {"a": threading.main_thread()}
