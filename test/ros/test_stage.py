# SPDX-License-Identifier: Apache-2.0
import queue
import threading
from collections.abc import Iterator

import pytest

from mtl_perception.ros.stage import Stage


class Slow:
    """Work that finishes an item only on command."""

    def __init__(self) -> None:
        self.begun: queue.Queue[int] = queue.Queue()
        self.done: list[int] = []
        self._may_end = threading.Semaphore(0)

    def __call__(self, item: int) -> None:
        self.begun.put(item)
        assert self._may_end.acquire(timeout=10)
        self.done.append(item)

    def go_on(self, items: int = 1) -> None:
        self._may_end.release(items)


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def stage(slow: Slow) -> Iterator[Stage[int]]:
    stage = Stage(slow, 'slow')
    yield stage
    slow.go_on(100)
    stage.stop()


def test_the_newest_item_is_next_and_those_it_overtakes_are_returned(
    slow: Slow, stage: Stage[int]
) -> None:
    assert stage.offer(1) is None
    assert slow.begun.get(timeout=10) == 1
    assert [stage.offer(item) for item in (2, 3, 4)] == [None, 2, 3]
    slow.go_on()
    assert slow.begun.get(timeout=10) == 4


def test_stop_finishes_the_item_at_work_and_returns_the_one_that_waits(
    slow: Slow, stage: Stage[int]
) -> None:
    stage.offer(1)
    slow.begun.get(timeout=10)
    stage.offer(2)
    slow.go_on()
    assert stage.stop() == 2
    assert slow.done == [1]


def test_whoever_hands_over_waits_until_the_item_is_taken(slow: Slow, stage: Stage[int]) -> None:
    handed_over = threading.Event()

    def hand_over() -> None:
        stage.hand_over(2)
        handed_over.set()

    stage.hand_over(1)
    assert slow.begun.get(timeout=10) == 1
    other = threading.Thread(target=hand_over)
    other.start()
    assert not handed_over.is_set()
    slow.go_on()
    assert slow.begun.get(timeout=10) == 2
    assert handed_over.wait(10)
    other.join()
