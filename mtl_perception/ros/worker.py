"""A thread that always works on the newest item, so that waiting never adds up."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class NewestItemWorker(Generic[T]):
    """Calls ``work`` with the newest item that was put, in one thread of its own.

    Args:
        work: handles one item; must not raise.
        overtaken: called for each item that a newer one replaced before its turn came.
    """

    def __init__(self, work: Callable[[T], None], overtaken: Callable[[], None]) -> None:
        self._work = work
        self._overtaken = overtaken
        self._item: T | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='newest item', daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Make ``item`` the next one to work on."""
        with self._changed:
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
        if replaced:
            self._overtaken()

    def stop(self) -> None:
        """Finish the item that is being worked on, forget the next one, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._item is not None)
                if self._stopping or self._item is None:
                    return
                item, self._item = self._item, None
            self._work(item)
