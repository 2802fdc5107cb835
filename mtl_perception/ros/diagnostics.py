# SPDX-License-Identifier: Apache-2.0
"""Statistics of the node, and the status that it publishes on ``/diagnostics``."""

import itertools
import statistics
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from mtl_perception.memory import resident_memory

PAUSE = 1.0
"""Seconds between two stamps above which the camera paused and no image was lost."""

WINDOW = 10.0
"""Seconds over which rates, means and losses are computed."""

SILENCE = 3.0
"""Seconds without an image after which the status is an error."""

LOSS = 0.1
"""Ratio of missing images above which the status is a warning."""

MAX_AGE = 3600.0
"""Seconds above which an age means that stamps and clock differ, as in a replay of old stamps."""

Phase = Literal['unconfigured', 'loading', 'inactive', 'active', 'finalized']
"""Phase of the node's life cycle."""

Reason = Literal['overtaken', 'unwanted', 'bad', 'failed']
"""Why an image was dropped: replaced by a newer one, no subscriber, unusable message, error."""


class Counts(NamedTuple):
    """Numbers of images since activation.

    Attributes:
        received: Images received.
        published: Images with published results.
        overtaken: Images dropped for a newer one, or by deactivation, before their turn.
        unwanted: Images dropped because no output had a subscriber.
        bad: Messages that could not be used.
        failed: Images dropped by an error in the network or in a later stage.
    """

    received: int = 0
    published: int = 0
    overtaken: int = 0
    unwanted: int = 0
    bad: int = 0
    failed: int = 0

    def __sub__(self, earlier: 'Counts') -> 'Counts':
        return Counts(*(now - then for now, then in zip(self, earlier, strict=True)))

    @property
    def pending(self) -> int:
        """Images neither published nor dropped yet."""
        return self.received - sum(self[1:])


@dataclass(frozen=True)
class Snapshot:
    """Statistics at one moment; all but ``counts`` are over the last ``WINDOW`` seconds.

    Attributes:
        counts: Numbers of images since activation.
        recent: Numbers of images in the last ``WINDOW`` seconds.
        rate_in: Images received per second.
        rate_out: Results published per second.
        missing: Images missing according to the stamps.
        silence: Seconds since the last image, or since activation.
        problem: Text of the latest error.
        milliseconds: Mean time of each stage; ``frame`` is their sum.
        age: Median time from stamp to publication in milliseconds; ``None`` before the first
            result, and if it is negative or above ``MAX_AGE``.
    """

    counts: Counts = field(default_factory=Counts)
    recent: Counts = field(default_factory=Counts)
    rate_in: float = 0.0
    rate_out: float = 0.0
    missing: int = 0
    silence: float = 0.0
    problem: str = ''
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    age: float | None = None


@dataclass(frozen=True)
class Situation:
    """State of the node and of the ROS graph around it.

    Attributes:
        phase: Phase of the node's life cycle.
        failure: Reason why the last transition failed.
        topic: Image topic.
        publishers: Number of compatible image publishers.
        incompatible: Description of each incompatible image publisher.
        subscribers: Number of subscribers of all outputs together.
        large_images_hint: Setting that prevents the loss of large images.
        facts: Further values to publish, such as device and checkpoint.
    """

    phase: Phase
    failure: str = ''
    topic: str = ''
    publishers: int = 0
    incompatible: tuple[str, ...] = ()
    subscribers: int = 0
    large_images_hint: str = ''
    facts: Mapping[str, str] = field(default_factory=dict)


COUNT_KEYS = 'received', 'published', 'overtaken', 'without subscriber', 'bad messages', 'failed'
"""Keys of the attributes of ``Counts`` on ``/diagnostics``, in order."""

STAGE_SUFFIX = ' (ms)'


@dataclass(frozen=True)
class NodeStatus:
    """Status of a node, read from ``/diagnostics``.

    Attributes:
        message: Description of the output, or the reason why nothing is published.
        phase: Phase of the node's life cycle.
        subscribers: Number of subscribers of all outputs together.
        counts: Numbers of images since activation.
        milliseconds: Mean time of each stage and of the ``frame``, and median ``age`` of results.
        problem: Text of the latest error.
    """

    message: str = 'no status on /diagnostics'
    phase: Phase = 'unconfigured'
    subscribers: int = 0
    counts: Counts = field(default_factory=Counts)
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    problem: str = ''

    @classmethod
    def from_message(cls, status: DiagnosticStatus) -> 'NodeStatus':
        """Return the status in a message of ``diagnostic_status``."""
        values = {entry.key: entry.value for entry in status.values}
        return cls(
            status.message,
            phase=values['state'],
            subscribers=int(values['subscribers']),
            counts=Counts(*(int(values[key]) for key in COUNT_KEYS)),
            milliseconds={
                key.removesuffix(STAGE_SUFFIX): float(value)
                for key, value in values.items()
                if key.endswith(STAGE_SUFFIX) and value
            },
            problem=values['last problem'],
        )


def status_name(node_name: str) -> str:
    """Return the name of the status of a node, given its fully qualified name."""
    return f'{node_name.lstrip("/")}: pipeline'


def diagnostic_status(
    node_name: str, hardware_id: str, situation: Situation, snapshot: Snapshot
) -> DiagnosticStatus:
    """Return the status to publish; ``hardware_id`` is the name of the computer."""
    level, message = diagnose(situation, snapshot)
    memory = resident_memory()
    values = {
        'state': situation.phase,
        **situation.facts,
        'input topic': situation.topic,
        'publishers': str(situation.publishers),
        'subscribers': str(situation.subscribers),
        'rate in (Hz)': f'{snapshot.rate_in:.1f}',
        'rate out (Hz)': f'{snapshot.rate_out:.1f}',
        **dict(zip(COUNT_KEYS, map(str, snapshot.counts), strict=True)),
        f'missing stamps in {WINDOW:.0f} s': str(snapshot.missing),
        **{f'{stage}{STAGE_SUFFIX}': f'{ms:.1f}' for stage, ms in snapshot.milliseconds.items()},
        f'age{STAGE_SUFFIX}': '' if snapshot.age is None else f'{snapshot.age:.0f}',
        'memory (MiB)': '' if memory is None else f'{memory:.0f}',
        'last problem': snapshot.problem,
    }
    return DiagnosticStatus(
        level=level,
        name=status_name(node_name),
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


class Statistics:
    """Counters and measurements of the node; all methods are thread-safe."""

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
        """Count an image with its stamp in seconds."""
        with self._lock:
            self._last_image = self._count('received')
            if self._stamps and stamp <= self._stamps[-1][1]:
                self._stamps.clear()  # A bag started again, or the clock was set.
            self._stamps.append((self._last_image, stamp))

    def drop(self, reason: Reason, problem: str = '') -> None:
        """Count an image that is not published, with the text of the error if there was one."""
        with self._lock:
            self._count(reason)
            self._problem = problem or self._problem

    def published(self, milliseconds: Mapping[str, float], age: float) -> None:
        """Count a result with the time of each stage, and its age in seconds at publication."""
        with self._lock:
            self._results.append((self._count('published'), milliseconds, age))

    def snapshot(self) -> Snapshot:
        """Return the statistics of this moment."""
        with self._lock:
            now = self._clock()
            self._forget(now - WINDOW)
            return Snapshot(
                Counts(**self._totals),
                Counts(**{name: len(times) for name, times in self._times.items()}),
                rate_in=_rate(self._times['received'], now),
                rate_out=_rate(self._times['published'], now),
                missing=_missing([stamp for _, stamp in self._stamps]),
                silence=now - self._last_image,
                problem=self._problem,
                milliseconds=_means([milliseconds for _, milliseconds, _ in self._results]),
                age=_median_age([age for *_, age in self._results]),
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
    """Return the level, and the output or the reason for its absence in one sentence."""
    if situation.phase != 'active':
        return _diagnose_inactive(situation)
    return (
        _diagnose_input(situation, snapshot)
        or _diagnose_errors(snapshot)
        or _diagnose_output(situation, snapshot)
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
    if snapshot.silence < SILENCE and snapshot.counts.received:
        return None
    if not situation.publishers:
        if situation.incompatible:
            return DiagnosticStatus.ERROR, '; '.join(situation.incompatible)
        return DiagnosticStatus.ERROR, f'no publisher on {situation.topic}'
    if snapshot.silence < SILENCE:
        return DiagnosticStatus.OK, f'waiting for the first image on {situation.topic}'
    text = f'no image on {situation.topic} for {snapshot.silence:.0f} s, though it has a publisher'
    if situation.large_images_hint:
        text += f'; if it does publish: {situation.large_images_hint}'
    return DiagnosticStatus.ERROR, text


def _diagnose_errors(snapshot: Snapshot) -> tuple[bytes, str] | None:
    recent = snapshot.recent
    worst = max(recent.bad, recent.failed) / max(1, recent.received)
    if not worst:
        return None
    what = 'cannot be used' if recent.bad >= recent.failed else 'fail in the network or after it'
    # Images of the window that still wait keep the ratio below 1 even if all are bad.
    if worst > 0.9 or not snapshot.rate_out:
        return DiagnosticStatus.ERROR, f'images {what}: {snapshot.problem}'
    return DiagnosticStatus.WARN, f'{worst:.0%} of images {what}: {snapshot.problem}'


def _diagnose_output(situation: Situation, snapshot: Snapshot) -> tuple[bytes, str]:
    rates = f'{snapshot.rate_in:.1f} images/s in, {snapshot.rate_out:.1f} results/s out'
    sent = snapshot.missing + snapshot.rate_in * WINDOW
    # A busy node does not fetch every image either, but then some would have been overtaken.
    if not snapshot.recent.overtaken and snapshot.missing > LOSS * sent:
        text = f'{rates}; {snapshot.missing} images were lost on the way to this node'
        if situation.large_images_hint:
            text += f': {situation.large_images_hint}'
        return DiagnosticStatus.WARN, text
    if not situation.subscribers:
        text = f'{snapshot.rate_in:.1f} images/s in; idle, as nobody subscribes to an output'
        return DiagnosticStatus.OK, text
    return DiagnosticStatus.OK, rates


def _rate(times: deque[float], now: float) -> float:
    if len(times) < 2 or now == times[0]:
        return 0.0
    return (len(times) - 1) / (now - times[0])


def _missing(stamps: list[float]) -> int:
    """Return the number of missing stamps of evenly spaced images.

    The spacing is the mean of the gaps shorter than 1.75 times the lower quartile. This tolerates
    jitter, and up to three missing images out of four. A long gap is a pause of the camera or a
    change of its clock.
    """
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    if len(gaps) < 4:
        return 0
    short = statistics.quantiles(gaps, n=4)[0]
    spacing = statistics.fmean(gap for gap in gaps if gap < 1.75 * short)
    longest = max(PAUSE, 3 * spacing)
    return sum(max(0, round(gap / spacing) - 1) for gap in gaps if gap < longest)


def _median_age(ages: list[float]) -> float | None:
    age = statistics.median(ages) if ages else -1.0
    return 1e3 * age if 0 <= age <= MAX_AGE else None


def _means(entries: list[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each stage and their sum; medians would not add up to the whole."""
    sums: Counter[str] = Counter()
    for entry in entries:
        sums.update(entry)
    means = {stage: total / len(entries) for stage, total in sums.items()}
    return {**means, 'frame': sum(means.values())} if means else {}
