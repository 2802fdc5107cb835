"""A stage of a pipeline: a thread that never lets more than one item wait."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class Stage(Generic[T]):
    """Calls ``work`` with one item after the other, in a thread of its own.

    Whoever can leave items out offers them, so that the stage always works on the newest and
    waiting never adds up; whoever cannot hands them over.

    Args:
        work: handles one item; must not raise.
        name: of the thread.
    """

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work = work
        self._item: T | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, item: T) -> T | None:
        """Make ``item`` the next one; return the one that it overtook, if one was waiting."""
        with self._changed:
            overtaken, self._item = self._item, item
            self._changed.notify_all()
        return overtaken

    def hand_over(self, item: T) -> None:
        """Wait until the stage is free and has begun to work on ``item``.

        One thread may do this, and nobody may ``offer`` or ``stop`` meanwhile.
        """
        with self._changed:
            self._item = item
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._item is None)

    def stop(self) -> T | None:
        """Finish the item that is being worked on and end the thread; return the one that waits."""
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
