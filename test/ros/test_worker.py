import queue
import threading

from mtl_perception.ros.worker import NewestItemWorker


def test_worker_takes_the_newest_item_and_counts_those_it_overtook() -> None:
    started, go_on, done = threading.Event(), threading.Event(), queue.Queue()
    overtaken = []

    def work(item: int) -> None:
        started.set()
        go_on.wait(10)
        done.put(item)

    worker = NewestItemWorker(work, lambda: overtaken.append(1))
    worker.put(1)
    started.wait(10)
    for item in (2, 3, 4):
        worker.put(item)
    go_on.set()
    assert [done.get(timeout=10), done.get(timeout=10)] == [1, 4]
    assert len(overtaken) == 2
    worker.stop()


def test_stop_waits_for_the_item_at_work_and_forgets_the_next() -> None:
    started, go_on, done = threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        started.set()
        go_on.wait(10)
        done.append(item)

    worker = NewestItemWorker(work, lambda: None)
    worker.put(1)
    started.wait(10)
    worker.put(2)
    threading.Timer(0.05, go_on.set).start()
    worker.stop()
    assert done == [1]
