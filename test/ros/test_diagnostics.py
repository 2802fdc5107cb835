# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from mtl_perception.ros.diagnostics import (
    Counts,
    NodeStatus,
    Situation,
    Snapshot,
    Statistics,
    diagnose,
    diagnostic_status,
)

RUNNING = Snapshot(Counts(received=100, published=100), rate_in=10.0, rate_out=10.0)
ACTIVE = Situation(phase='active', topic='/image', publishers=1, subscribers=1)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def feed(statistics: Statistics, clock: Clock, stamps: list[float]) -> None:
    for stamp in stamps:
        clock.now = 100.0 + stamp
        statistics.received(stamp)


def test_rates_totals_and_means_are_counted() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    for i in range(21):
        feed(statistics, clock, [i / 10])
        if i % 2 == 0:
            statistics.published({'network': float(i)}, age=0.05)
        else:
            statistics.drop('overtaken')
    snapshot = statistics.snapshot()
    assert snapshot.counts == Counts(received=21, published=11, overtaken=10)
    assert snapshot.counts.pending == 0
    assert snapshot.rate_in == pytest.approx(10.0)
    assert snapshot.rate_out == pytest.approx(5.0)
    assert snapshot.milliseconds == {'network': 10.0, 'frame': 10.0}
    assert snapshot.age == 50.0
    assert snapshot.recent == snapshot.counts


@pytest.mark.parametrize(
    ('age', 'reported'), [(0.05, 50.0), (-0.05, None), (3601.0, None), (218027323.0, None)]
)
def test_ages_that_no_image_can_have_are_not_reported(age: float, reported: float | None) -> None:
    statistics = Statistics(Clock())
    assert statistics.snapshot().age is None
    statistics.published({'network': 30.0}, age=age)
    assert statistics.snapshot().age == reported


def test_stages_that_few_frames_have_still_add_up_to_the_mean_frame() -> None:
    statistics = Statistics(Clock())
    statistics.published({'network': 30.0, 'publish': 2.0}, age=0.05)
    statistics.published({'network': 40.0, 'instance': 10.0, 'publish': 4.0}, age=0.05)
    assert statistics.snapshot().milliseconds == {
        'network': 35.0,
        'instance': 5.0,
        'publish': 3.0,
        'frame': 43.0,
    }


def test_the_past_is_forgotten_but_stays_in_the_totals() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    feed(statistics, clock, [0.1 * i for i in range(10)])
    statistics.drop('bad', 'broken')
    clock.now += 60
    snapshot = statistics.snapshot()
    assert (snapshot.rate_in, snapshot.recent) == (0.0, Counts())
    assert (snapshot.counts, snapshot.problem) == (Counts(received=10, bad=1), 'broken')
    assert snapshot.silence == pytest.approx(60.0)


def test_gaps_in_the_stamps_tell_how_many_images_are_missing() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    feed(statistics, clock, [i / 30 for i in range(270) if i % 3 < 2])
    assert statistics.snapshot().missing == len([i for i in range(269) if i % 3 == 2])


def test_jitter_is_no_gap() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    feed(statistics, clock, [i / 30 + 0.005 * (i % 3) for i in range(270)])
    assert statistics.snapshot().missing == 0


def test_a_bag_that_begins_anew_has_lost_nothing() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    for _ in range(3):
        for i in range(20):
            clock.now += 0.1
            statistics.received(i * 0.1)
    assert statistics.snapshot().missing == 0


@pytest.mark.parametrize('pause', [5.0, 3600.0])
def test_a_camera_that_pauses_and_a_clock_that_is_set_have_lost_nothing(pause: float) -> None:
    clock = Clock()
    statistics = Statistics(clock)
    feed(statistics, clock, [i / 30 for i in range(100)])
    for i in range(100):
        clock.now += 1 / 30
        statistics.received(100 / 30 + pause + i / 30)
    assert statistics.snapshot().missing == 0


@pytest.mark.parametrize(
    ('situation', 'level', 'reason'),
    [
        (Situation('unconfigured'), DiagnosticStatus.WARN, 'transition configure'),
        (Situation('unconfigured', 'x: no file'), DiagnosticStatus.ERROR, 'configured: x: no file'),
        (Situation('inactive', 'x'), DiagnosticStatus.ERROR, 'not activated: x'),
        (Situation('loading'), DiagnosticStatus.WARN, 'loading the checkpoint'),
        (Situation('inactive'), DiagnosticStatus.WARN, 'transition activate'),
        (Situation('finalized'), DiagnosticStatus.WARN, 'shut down'),
        (Situation('active', topic='/image'), DiagnosticStatus.ERROR, 'no publisher on /image'),
        (
            Situation('active', topic='/image', incompatible=('/cam has an incompatible QoS',)),
            DiagnosticStatus.ERROR,
            '/cam has an incompatible QoS',
        ),
        (
            Situation('active', topic='/image', publishers=1, large_images_hint='set that'),
            DiagnosticStatus.ERROR,
            'no image on /image for 5 s, though it has a publisher; if it does publish: set',
        ),
    ],
)
def test_the_reason_why_nothing_comes_out_is_told(
    situation: Situation, level: bytes, reason: str
) -> None:
    found, message = diagnose(situation, Snapshot(silence=5.0))
    assert reason in message
    assert found == level


@pytest.mark.parametrize(
    ('snapshot', 'level', 'reason'),
    [
        ({}, DiagnosticStatus.OK, '10.0 images/s in, 10.0 results/s out'),
        ({'recent': Counts(5, bad=5)}, DiagnosticStatus.ERROR, 'cannot be used: x'),
        ({'recent': Counts(5, bad=1)}, DiagnosticStatus.WARN, '20% of images cannot be used: x'),
        ({'recent': Counts(5, failed=5)}, DiagnosticStatus.ERROR, 'fail in the network or after'),
        ({'missing': 50}, DiagnosticStatus.WARN, '50 images were lost on the way'),
        ({'missing': 5}, DiagnosticStatus.OK, 'results/s out'),
        ({'missing': 50, 'recent': Counts(5, 4, 1)}, DiagnosticStatus.OK, 'results/s out'),
    ],
)
def test_what_is_wrong_with_a_running_node_is_told(
    snapshot: dict, level: bytes, reason: str
) -> None:
    found, message = diagnose(ACTIVE, replace(RUNNING, problem='x', **snapshot))
    assert reason in message
    assert found == level


def test_nobody_subscribing_is_no_error_but_said() -> None:
    situation = Situation('active', topic='/image', publishers=1)
    level, message = diagnose(situation, RUNNING)
    assert 'nobody subscribes' in message
    assert level == DiagnosticStatus.OK


def test_status_holds_the_figures() -> None:
    situation = Situation('active', topic='/image', facts={'device': 'cpu'})
    snapshot = replace(RUNNING, milliseconds={'network': 12.34}, age=50.0)
    message = diagnostic_status('/mtl_perception', 'robot', situation, snapshot)
    values = {value.key: value.value for value in message.values}
    assert (message.name, message.hardware_id) == ('mtl_perception: pipeline', 'robot')
    assert values['network (ms)'] == '12.3'
    assert values['age (ms)'] == '50'
    assert values['device'] == 'cpu'
    assert int(values['memory (MiB)']) > 10


@pytest.mark.parametrize('age', [{}, {'age': 51.0}])
def test_a_status_that_is_read_is_the_one_that_was_published(age: dict[str, float]) -> None:
    counts = Counts(received=21, published=1, overtaken=2, unwanted=3, bad=4, failed=5)
    milliseconds = {'network': 12.3, 'publish': 0.5, 'frame': 12.8}
    snapshot = Snapshot(counts, problem='broken', milliseconds=milliseconds, **age)
    situation = Situation('inactive', failure='no camera', subscribers=4)
    message = diagnostic_status('/node', 'robot', situation, snapshot)
    assert NodeStatus.from_message(message) == NodeStatus(
        'not activated: no camera', 'inactive', 4, counts, milliseconds | age, 'broken'
    )


def test_counts_since_an_earlier_status_tell_how_many_images_are_pending() -> None:
    earlier = Counts(received=5, published=4, bad=1)
    later = Counts(received=15, published=8, overtaken=1, unwanted=1, bad=2, failed=1)
    assert later - earlier == Counts(
        received=10, published=4, overtaken=1, unwanted=1, bad=1, failed=1
    )
    assert (later - earlier).pending == 2
