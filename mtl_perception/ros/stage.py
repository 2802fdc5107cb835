# SPDX-License-Identifier: Apache-2.0
"""A stage of a pipeline: a thread with room for one waiting item."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class Stage(Generic[T]):
    """Calls ``work`` with one item after the other, in its own thread.

    A source that may drop items offers them: the stage works on the newest one, and waiting times
    never add up. A source that may not drop items hands them over.

    Args:
        work: Function that processes one item; it must not raise.
        name: Name of the thread.
    """

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work = work
        self._item: T | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: T) -> T | None:
        """Make ``item`` the next one; return the waiting item that it replaces, if any."""
        with self._changed:
            replaced, self._item = self._item, item
            self._changed.notify_all()
        return replaced

    def hand_over(self, item: T) -> None:
        """Wait until the stage is free and has begun to work on ``item``.

        Only one thread may call it, and ``offer`` and ``stop`` must not be called meanwhile.
        """
        with self._changed:
            self._item = item
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._item is None)

    def stop(self) -> T | None:
        """Finish the item in work and end the thread; return the waiting item, if any."""
        with self._changed:
            waiting, self._item = self._item, None
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        return waiting

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._item is not None)
                if self._item is None:
                    return
                item, self._item = self._item, None
                self._changed.notify_all()
            self._work(item)
