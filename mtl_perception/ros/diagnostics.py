"""What the node counts and says on ``/diagnostics``: above all, why nothing comes out."""

import itertools
import statistics
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from mtl_perception.memory import resident_memory

Phase = Literal['unconfigured', 'loading', 'inactive', 'active', 'finalized']
"""Life-cycle phase of the node."""

PAUSE = 1.0
"""Seconds between two stamps from which on the camera paused, and nothing was lost."""

WINDOW = 10.0
"""Seconds that rates, means and losses are taken over."""

SILENCE = 3.0
"""Seconds without an image after which the node says so."""

LOSS = 0.1
"""Share of images missing from which the node warns."""


Reason = Literal['overtaken', 'unwanted', 'bad', 'failed']
"""Why an image was dropped: replaced by a newer one, no subscriber, unusable message, error."""


@dataclass(frozen=True)
class Snapshot:
    """What was counted and measured since activation; rates and the like over the last ``WINDOW``.

    Attributes:
        received: images.
        overtaken: images that a newer one, or deactivation, replaced before their turn came.
        unwanted: images that nobody subscribed to an output for.
        bad: messages that could not be used.
        failed: images that the network or a later stage failed on.
        published: images whose results were published.
        rate_in: images a second.
        rate_out: results a second.
        missing: images that the stamps in the window skip.
        keeping_up: whether no image in the window was overtaken.
        bad_share: of the window's images, those that could not be used.
        failed_share: of the window's images, those that something failed on.
        silence: seconds since the last image, or since activation.
        problem: the latest error's text.
        milliseconds: mean of each stage; together they are the mean time of a frame in this node.
        age: median seconds from stamp to publication; ``None`` before the first.
    """

    received: int = 0
    overtaken: int = 0
    unwanted: int = 0
    bad: int = 0
    failed: int = 0
    published: int = 0
    rate_in: float = 0.0
    rate_out: float = 0.0
    missing: int = 0
    keeping_up: bool = True
    bad_share: float = 0.0
    failed_share: float = 0.0
    silence: float = 0.0
    problem: str = ''
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    age: float | None = None


@dataclass(frozen=True)
class Situation:
    """What the node knows of itself and of the ROS graph.

    Attributes:
        phase: Life-cycle phase of the node.
        failure: why the last transition failed.
        topic: that images are taken from.
        publishers: how many offer images there that this node can receive.
        incompatible: what each publisher that it cannot receive from offers, in words.
        subscribers: to all outputs together.
        large_images_hint: what to set so that large images are not lost.
        facts: further values to show: device, checkpoint and so on.
    """

    phase: Phase
    failure: str = ''
    topic: str = ''
    publishers: int = 0
    incompatible: tuple[str, ...] = ()
    subscribers: int = 0
    large_images_hint: str = ''
    facts: Mapping[str, str] = field(default_factory=dict)


class Statistics:
    """Counts and measures; every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._times: dict[str, deque[float]] = defaultdict(deque)
        self._stamps: deque[tuple[float, float]] = deque()
        self._results: deque[tuple[float, Mapping[str, float], float]] = deque()
        self._last_image = clock()
        self._problem = ''

    def received(self, stamp: float) -> None:
        """Count an image with that stamp, in seconds."""
        with self._lock:
            self._last_image = self._count('received')
            if self._stamps and stamp <= self._stamps[-1][1]:
                self._stamps.clear()  # a bag began anew, or the clock was set
            self._stamps.append((self._last_image, stamp))

    def drop(self, reason: Reason, problem: str = '') -> None:
        """Count an image that is not published.

        Args:
            reason: Cause.
            problem: Error text, if there was an error.
        """
        with self._lock:
            self._count(reason)
            self._problem = problem or self._problem

    def published(self, milliseconds: Mapping[str, float], age: float) -> None:
        """Count a published result.

        Args:
            milliseconds: of each stage.
            age: seconds from the image's stamp to the publication.
        """
        with self._lock:
            self._results.append((self._count('published'), milliseconds, age))

    def snapshot(self) -> Snapshot:
        """Return the state of things now."""
        with self._lock:
            now = self._clock()
            self._forget(now - WINDOW)
            recent = {name: len(times) for name, times in self._times.items()}
            received = recent.get('received', 0)
            return Snapshot(
                received=self._totals['received'],
                overtaken=self._totals['overtaken'],
                unwanted=self._totals['unwanted'],
                bad=self._totals['bad'],
                failed=self._totals['failed'],
                published=self._totals['published'],
                rate_in=_rate(self._times['received'], now),
                rate_out=_rate(self._times['published'], now),
                missing=_missing([stamp for _, stamp in self._stamps]),
                keeping_up=not recent.get('overtaken'),
                bad_share=recent.get('bad', 0) / max(1, received),
                failed_share=recent.get('failed', 0) / max(1, received),
                silence=now - self._last_image,
                problem=self._problem,
                milliseconds=_means([milliseconds for _, milliseconds, _ in self._results]),
                age=statistics.median(age for *_, age in self._results) if self._results else None,
            )

    def _count(self, what: str) -> float:
        now = self._clock()
        self._totals[what] += 1
        self._times[what].append(now)
        self._forget(now - WINDOW)
        return now

    def _forget(self, before: float) -> None:
        for times in self._times.values():
            while times and times[0] < before:
                times.popleft()
        for entries in (self._stamps, self._results):
            while entries and entries[0][0] < before:
                entries.popleft()


def diagnose(situation: Situation, snapshot: Snapshot) -> tuple[bytes, str]:
    """Return the level, and in one sentence what comes out or why nothing does."""
    if situation.phase != 'active':
        return _diagnose_inactive(situation)
    return (
        _diagnose_input(situation, snapshot)
        or _diagnose_errors(snapshot)
        or _diagnose_output(situation, snapshot)
    )


def diagnostic_status(
    name: str, hardware_id: str, situation: Situation, snapshot: Snapshot
) -> DiagnosticStatus:
    """Return the complete status message."""
    level, message = diagnose(situation, snapshot)
    memory = resident_memory()
    stages = {f'{stage} (ms)': f'{ms:.1f}' for stage, ms in snapshot.milliseconds.items()}
    if stages:
        stages['frame (ms)'] = f'{sum(snapshot.milliseconds.values()):.1f}'
    values = {
        'state': situation.phase,
        **situation.facts,
        'input topic': situation.topic,
        'publishers': str(situation.publishers),
        'subscribers': str(situation.subscribers),
        'rate in (Hz)': f'{snapshot.rate_in:.1f}',
        'rate out (Hz)': f'{snapshot.rate_out:.1f}',
        'received': str(snapshot.received),
        'published': str(snapshot.published),
        'overtaken': str(snapshot.overtaken),
        'without subscriber': str(snapshot.unwanted),
        'bad messages': str(snapshot.bad),
        'failed': str(snapshot.failed),
        f'missing stamps in {WINDOW:.0f} s': str(snapshot.missing),
        **stages,
        'age (ms)': '' if snapshot.age is None else f'{snapshot.age * 1e3:.0f}',
        'memory (MiB)': '' if memory is None else f'{memory:.0f}',
        'last problem': snapshot.problem,
    }
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _diagnose_inactive(situation: Situation) -> tuple[bytes, str]:
    if situation.failure:
        done = 'activated' if situation.phase == 'inactive' else 'configured'
        return DiagnosticStatus.ERROR, f'not {done}: {situation.failure}'
    text = {
        'unconfigured': 'not configured: send the transition configure, or set autostart',
        'loading': 'loading the checkpoint and warming up',
        'inactive': 'inactive: send the transition activate',
        'finalized': 'shut down: start the node again',
    }[situation.phase]
    return DiagnosticStatus.WARN, text


def _diagnose_input(situation: Situation, snapshot: Snapshot) -> tuple[bytes, str] | None:
    if snapshot.silence < SILENCE and snapshot.received:
        return None
    if not situation.publishers:
        if situation.incompatible:
            return DiagnosticStatus.ERROR, '; '.join(situation.incompatible)
        return DiagnosticStatus.ERROR, f'no publisher on {situation.topic}'
    if snapshot.silence < SILENCE:
        return DiagnosticStatus.OK, f'waiting for the first image on {situation.topic}'
    text = f'no image on {situation.topic} for {snapshot.silence:.0f} s, though it has a publisher'
    if situation.large_images_hint:
        text += f'; if that one does publish: {situation.large_images_hint}'
    return DiagnosticStatus.ERROR, text


def _diagnose_errors(snapshot: Snapshot) -> tuple[bytes, str] | None:
    worst = max(snapshot.bad_share, snapshot.failed_share)
    if not worst:
        return None
    what = 'cannot be used' if snapshot.bad_share == worst else 'fail in the network or after it'
    # Some of the window's images are still waiting, so that all of them bad is seldom exactly 1.
    if worst > 0.9 or not snapshot.rate_out:
        return DiagnosticStatus.ERROR, f'images {what}: {snapshot.problem}'
    return DiagnosticStatus.WARN, f'{worst:.0%} of images {what}: {snapshot.problem}'


def _diagnose_output(situation: Situation, snapshot: Snapshot) -> tuple[bytes, str]:
    rates = f'{snapshot.rate_in:.1f} images/s in, {snapshot.rate_out:.1f} results/s out'
    sent = snapshot.missing + snapshot.rate_in * WINDOW
    # A busy node does not fetch every image either, but then none would have been worked on.
    if snapshot.keeping_up and snapshot.missing > LOSS * sent:
        text = f'{rates}; {snapshot.missing} images were lost on the way to this node'
        if situation.large_images_hint:
            text += f': {situation.large_images_hint}'
        return DiagnosticStatus.WARN, text
    if not situation.subscribers:
        text = (
            f'{snapshot.rate_in:.1f} images/s in; nobody subscribes to an output, so none is made'
        )
        return DiagnosticStatus.OK, text
    return DiagnosticStatus.OK, rates


def _rate(times: deque[float], now: float) -> float:
    if len(times) < 2 or now == times[0]:
        return 0.0
    return (len(times) - 1) / (now - times[0])


def _missing(stamps: list[float]) -> int:
    """Return how many stamps are missing, given that images are evenly spaced.

    The spacing is the mean of the gaps that are less than two of the shortest quarter's, which is
    right with jitter and until three images in four are missing. A long gap is a pause of the
    camera, or its clock that was set.
    """
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    if len(gaps) < 4:
        return 0
    short = statistics.quantiles(gaps, n=4)[0]
    spacing = statistics.fmean(gap for gap in gaps if gap < 1.75 * short)
    longest = max(PAUSE, 3 * spacing)
    return sum(max(0, round(gap / spacing) - 1) for gap in gaps if gap < longest)


def _means(entries: list[Mapping[str, float]]) -> dict[str, float]:
    """Return means, as medians of parts do not add up to that of the whole."""
    sums: Counter[str] = Counter()
    for entry in entries:
        sums.update(entry)
    return {stage: total / len(entries) for stage, total in sums.items()}
