# SPDX-License-Identifier: Apache-2.0
"""Speed and AP of the grouping, compared with scikit-learn and Panoptic-DeepLab."""

import functools
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import mean, median
from typing import NamedTuple

import cv2
import numpy as np
from sklearn.cluster import OPTICS, cluster_optics_xi
from sklearn.metrics import adjusted_rand_score
from tqdm import tqdm

from mtl_perception.benchmark.measuring import (
    Machine,
    Result,
    Times,
    describe_machine,
    time_in_turns,
)
from mtl_perception.evaluation.official import OfficialInstance
from mtl_perception.frame import resize_nearest
from mtl_perception.inference.predictor import Predictor
from mtl_perception.labels import INSTANCE_ID_BASE, IS_THING, THING_IDS
from mtl_perception.synthetic import synthetic_frame
from mtl_perception.synthetic.dataset import split_seed
from mtl_perception.tasks.instance import (
    MAX_CELLS,
    Cells,
    GroupingParameters,
    Instances,
    group_cells,
    group_instances,
    merge_votes,
)
from mtl_perception.tasks.optics import Reachability, clusters_at, compile_optics, optics

CENTERS, SPREAD = 10, 2.0
"""Number of centres of random votes, and standard deviation around each in pixels."""

MAX_EPS, MIN_SAMPLES, CUT = 10.0, 10, 1.5
"""OPTICS' largest distance in pixels, its least votes, and the cut in pixels."""

MIN_VOTES = 10.0
"""Least votes of a peak within the Gaussian's 2πσ² pixels, or in one pixel without blur."""

SEEDS = 10
"""Sets of random votes on which exact and weighted OPTICS are compared."""

HEIGHT, WIDTH = 128, 256
"""Size in pixels of the maps in the search for slow maps."""

RETIMED = 5
"""Slowest random maps that are timed again, with all repetitions."""

COARSER = (1000, MAX_CELLS, 500, 250)
"""Largest numbers of cells at which the loss by merging is measured."""

_plot = functools.partial(optics, min_samples=MIN_SAMPLES, max_eps=MAX_EPS)


class Maps(NamedTuple):
    """Maps to group: ``(h, w)`` uint8 labels and confidence, ``(2, h, w)`` float32 offsets."""

    labels: np.ndarray
    confidence: np.ndarray
    offsets: np.ndarray


Group = Callable[[Maps], Instances]


@dataclass(frozen=True)
class Scene:
    """Predicted maps of one frame, and its true ``(H, W)`` instance IDs."""

    maps: Maps
    truth: np.ndarray


@dataclass(frozen=True)
class Peaks:
    """Grouping of Panoptic-DeepLab, whose centres are the peaks of a heat map.

    Cheng et al., *Panoptic-DeepLab*, CVPR 2020, section 3.2. Their network predicts the heat map.
    Here the blurred histogram of the votes replaces it, so that all groupings have equal input.

    Attributes:
        kernel: Width in pixels of the square in which a peak must be the highest.
        blur: Standard deviation in pixels of the Gaussian over the histogram, 0 for none.
    """

    kernel: int
    blur: float

    def __call__(self, maps: Maps) -> Instances:
        """Give every pixel to the nearest peak of its class."""
        labels, confidence, offsets = maps
        height, width = labels.shape
        ids = labels.astype(np.uint16)
        scores: dict[int, float] = {}
        for label in THING_IDS:
            y, x = np.nonzero(labels == label)
            votes = np.stack([x, y]) + offsets[:, y, x]
            columns, rows = np.rint(votes).astype(np.int64)
            inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
            histogram = np.bincount((rows * width + columns)[inside], minlength=height * width)
            peaks = self._peaks(histogram.reshape(height, width).astype(np.float32))
            if not peaks.size:
                continue
            squared = sum(np.square(v[:, None] - p) for v, p in zip(votes, peaks, strict=True))
            nearest = np.argmin(squared, 1)
            ids[y, x] = label * INSTANCE_ID_BASE + nearest
            areas = np.bincount(nearest)
            sums = np.bincount(nearest, confidence[y, x])
            for k in np.flatnonzero(areas).tolist():
                scores[label * INSTANCE_ID_BASE + k] = float(sums[k] / areas[k] / 255)
        return Instances(ids, scores)

    def _peaks(self, heat: np.ndarray) -> np.ndarray:
        """Return ``(2, n)`` x and y of the peaks."""
        if self.blur:
            votes_under = 2 * math.pi * self.blur**2
            blurred = cv2.GaussianBlur(heat, (0, 0), self.blur, borderType=cv2.BORDER_CONSTANT)
            heat = votes_under * blurred
        highest = cv2.dilate(heat, np.ones((self.kernel, self.kernel), np.uint8))
        y, x = np.nonzero((heat == highest) & (heat >= MIN_VOTES))
        return np.stack([x, y])[:, :INSTANCE_ID_BASE]


PEAKS = {
    'peaks of the vote histogram, 3×3': Peaks(3, 0.0),
    'peaks of the vote histogram, 7×7': Peaks(7, 0.0),
    'peaks of the histogram blurred by 2 px, 7×7': Peaks(7, 2.0),
    'peaks of the histogram blurred by 4 px, 7×7': Peaks(7, 4.0),
}


@dataclass(frozen=True)
class MachineAndLibraries(Machine):
    """Machine with the versions of numba and scikit-learn."""

    numba: str
    scikit_learn: str


@dataclass(frozen=True)
class OpticsComparison:
    """OPTICS of this package, exact and on weighted merged votes, compared with scikit-learn.

    Attributes:
        exact_ratio, weighted_ratio: Ratio of scikit-learn's median to the median of this package.
        identical: Whether exact OPTICS equals scikit-learn's result to the last digit.
        weighted_ari, weighted_ari_lowest: Mean and lowest adjusted Rand index of weighted to exact
            OPTICS over the seeds.
    """

    votes: int
    exact: Times
    weighted: Times
    scikit_learn: Times
    exact_ratio: float
    weighted_ratio: float
    identical: bool
    weighted_ari: float
    weighted_ari_lowest: float
    seeds: int


@dataclass(frozen=True)
class SlowMap(Times):
    """Times of the grouping on one map, with the number of its cells and instances."""

    map: str
    cells: int
    cell_px: float
    instances: int

    def __str__(self) -> str:
        return f'{self.map:<80}{self.cells:>6}{self.cell_px:>6.1f}{super().__str__()}'


@dataclass(frozen=True)
class GroupingScores:
    """Official AP and times per scene of a grouping; AP is ``None`` without true instances."""

    grouping: str
    ap: float | None
    ap50: float | None
    times: Times | None

    def __str__(self) -> str:
        ap50, ap = ('–' if x is None else f'{x * 100:.1f} %' for x in (self.ap50, self.ap))
        return f'{self.grouping:<48}{ap50:>8}{ap:>8}{self.times or ""}'


@dataclass(frozen=True)
class CoarserCells:
    """Loss by merging votes into at most ``max_cells`` cells.

    Attributes:
        grown_scenes: Number of scenes whose cells grow beyond one pixel; the others do not count.
        median_cell_px: Median width of the cells in pixels.
        ari, ari_lowest: Mean and lowest adjusted Rand index to the grouping on 1-pixel cells.
    """

    max_cells: int
    grown_scenes: int
    median_cell_px: float | None
    ari: float | None
    ari_lowest: float | None

    def __str__(self) -> str:
        grown = f'at most {self.max_cells:<24}{self.grown_scenes:>8}'
        if not self.grown_scenes:
            return grown
        return f'{grown}{self.median_cell_px:>6.1f}{self.ari:>8.3f}{self.ari_lowest:>8.3f}'


@dataclass(frozen=True)
class InstancesBenchmark(Result):
    """Speed and quality of the grouping."""

    machine: MachineAndLibraries
    optics: OpticsComparison
    worst: Sequence[SlowMap]
    groupings: Sequence[GroupingScores]
    coarser_cells: Sequence[CoarserCells]

    def __str__(self) -> str:
        machine, found = self.machine, self.optics
        heading, slowest = f'OPTICS of {found.votes:,} votes', f'slowest {HEIGHT}×{WIDTH} maps'
        peers = {
            f'scikit-learn {machine.scikit_learn}': found.scikit_learn,
            'exact': found.exact,
            'weighted, merging included': found.weighted,
        }
        agreement = (
            f'exact: {found.exact_ratio:,.0f} times as fast, '
            f'{"identical" if found.identical else "NOT IDENTICAL"}; '
            f'weighted: {found.weighted_ratio:,.0f} times as fast, '
            f'adjusted Rand index to exact {found.weighted_ari:.3f} '
            f'(mean over {found.seeds} seeds, lowest {found.weighted_ari_lowest:.3f})\n'
        )
        lines = (
            f'{machine}, one used; numba {machine.numba}\n',
            f'{heading:<48}{"calls":>6}{"median":>12}{"p99":>12}',
            *(f'{name:<48}{times.calls:>6}{times}' for name, times in peers.items()),
            agreement,
            f'{slowest:<80}{"cells":>6}{"px":>6}{"median":>12}{"p99":>12}',
            *self.worst,
            f'\n{"groupings of the same votes":<48}{"AP50":>8}{"AP":>8}{"median":>12}{"p99":>12}',
            *self.groupings,
            f'\n{"cells that grow":<32}{"scenes":>8}{"px":>6}{"ARI":>8}{"lowest":>8}',
            *self.coarser_cells,
        )
        return '\n'.join(map(str, lines))


def benchmark_instances(
    scenes: Sequence[Scene],
    *,
    seed: int,
    votes: int,
    repetitions: int,
    reference_repetitions: int,
    draws: int,
) -> InstancesBenchmark:
    """Measure OPTICS on random votes, and the grouping on random maps and on ``scenes``.

    ``draws`` is the number of random maps in the search for slow ones. scikit-learn, whose runs
    take seconds each, is timed ``reference_repetitions`` times, the others ``repetitions`` times.
    """
    compile_optics()
    return InstancesBenchmark(
        machine=MachineAndLibraries(
            **vars(describe_machine()), numba=version('numba'), scikit_learn=version('scikit-learn')
        ),
        optics=measure_optics(seed, votes, repetitions, reference_repetitions),
        worst=search_worst(seed, repetitions, draws),
        groupings=compare_groupings(scenes, repetitions),
        coarser_cells=measure_coarser_cells(scenes),
    )


def measure_optics(
    seed: int, votes: int, repetitions: int, reference_repetitions: int
) -> OpticsComparison:
    """Time exact and weighted OPTICS in turns with scikit-learn, and compare their results."""
    points = random_votes(seed, votes)
    reference = OPTICS(
        min_samples=MIN_SAMPLES,
        max_eps=MAX_EPS,
        algorithm='kd_tree',
        cluster_method='dbscan',
        eps=CUT,
    )
    times = time_in_turns(
        {
            'exact': (lambda: clusters_at(_plot(points), CUT), repetitions),
            'weighted': (lambda: weighted_clusters(points), repetitions),
            'scikit_learn': (lambda: reference.fit(points), reference_repetitions),
        },
        'OPTICS',
    )
    plot = _plot(points)._asdict().items()
    agreement = []
    for other in range(seed, seed + SEEDS):
        other_points = random_votes(other, votes)
        exact = clusters_at(_plot(other_points), CUT)
        agreement.append(float(adjusted_rand_score(exact, weighted_clusters(other_points))))
    return OpticsComparison(
        votes=votes,
        **times,
        exact_ratio=times['scikit_learn'].median / times['exact'].median,
        weighted_ratio=times['scikit_learn'].median / times['weighted'].median,
        identical=all(np.array_equal(own, getattr(reference, f'{name}_')) for name, own in plot),
        weighted_ari=mean(agreement),
        weighted_ari_lowest=min(agreement),
        seeds=SEEDS,
    )


def random_votes(seed: int, votes: int) -> np.ndarray:
    """Return ``(votes, 2)`` points around ``CENTERS`` random centres in a map."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform((0, 0), (WIDTH, HEIGHT), (CENTERS, 2))
    return centers[rng.integers(0, CENTERS, votes)] + rng.normal(0, SPREAD, (votes, 2))


def weighted_clusters(points: np.ndarray) -> np.ndarray:
    """Return the cluster of each of ``(n, 2)`` votes by OPTICS on 1-pixel cells."""
    square = np.floor(points).astype(np.int64)
    square -= square.min(0)
    columns = square[:, 0].max() + 1
    key = square[:, 1] * columns + square[:, 0]
    counts = np.bincount(key)
    occupied = np.flatnonzero(counts)
    number = np.empty(counts.size, np.int64)
    number[occupied] = np.arange(occupied.size)
    cell, weights = number[key], counts[occupied]
    means = np.stack([np.bincount(cell, v) for v in points.T], 1) / weights[:, None]
    return clusters_at(_plot(means, weights=weights), CUT)[cell]


def search_worst(seed: int, repetitions: int, draws: int) -> list[SlowMap]:
    """Time maps made to be slow and the slowest random maps; return the slowest first."""
    cases = dict(_suspects(np.random.default_rng(seed)))
    for maps in cases.values():
        ours(maps)
    drawn = []
    for draw in tqdm(range(draws), desc='search for slow maps', unit='map', disable=None):
        _, maps = random_maps(np.random.default_rng([seed, draw]))
        start = time.process_time()  # called once, so load on the machine must not count
        ours(maps)
        drawn.append((time.process_time() - start, draw))
    for _, draw in sorted(drawn, reverse=True)[:RETIMED]:
        name, maps = random_maps(np.random.default_rng([seed, draw]))
        cases[f'draw {draw}: {name}'] = maps
    times = time_in_turns(
        {name: (functools.partial(ours, maps), repetitions) for name, maps in cases.items()},
        'slow maps',
    )
    rows = []
    for name, maps in cases.items():
        grouping = group_instances(*maps)
        rows.append(
            SlowMap(
                **vars(times[name]),
                map=name,
                cells=grouping.cells.labels.size,
                cell_px=grouping.cells.size,
                instances=len(grouping.scores),
            )
        )
    return sorted(rows, key=lambda row: -row.median)


def random_maps(rng: np.random.Generator) -> tuple[str, Maps]:
    """Return random maps that are hard to group, and their description."""
    block = int(rng.choice((1, 2, 3, 5, 8, 16, 32, 64, 128)))
    classes = int(rng.integers(1, len(THING_IDS) + 1))
    share = float(rng.choice((1.0, 1.0, 0.6, 0.25)))
    gathered = float(rng.choice((0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)))
    noise = float(rng.choice((0.0, 0.0, 0.3, 1.0, 2.0, 4.0, 8.0, 30.0)))
    kind = str(rng.choice(('normal', 'uniform', 'cauchy', 'whole')))
    pixels = np.indices((HEIGHT, WIDTH))[::-1]
    x, y = pixels
    block_classes = rng.integers(0, classes, (HEIGHT // block + 1, WIDTH // block + 1))
    labels = np.array(THING_IDS, np.uint8)[block_classes[y // block, x // block]]
    labels[rng.random(labels.shape) >= share] = 0
    spread = {
        'normal': lambda: rng.normal(0, 1, pixels.shape),
        'uniform': lambda: rng.uniform(-1.7, 1.7, pixels.shape),
        'cauchy': lambda: rng.standard_cauchy(pixels.shape),
        'whole': lambda: rng.integers(-2, 3, pixels.shape),
    }[kind]()
    centers = (pixels // block + 0.5) * block
    offsets = gathered * (centers - pixels) + noise * spread
    name = f'{classes} classes, {share:.0%}, {block} px × {1 - gathered:.1f}, {kind} noise {noise}'
    return name, _maps(labels, offsets)


def _suspects(rng: np.random.Generator) -> Iterator[tuple[str, Maps]]:
    pixels = np.indices((HEIGHT, WIDTH))[::-1]
    extent = np.array([WIDTH, HEIGHT])[:, None, None]
    car = np.full((HEIGHT, WIDTH), 26)
    any_class = np.array(THING_IDS)[rng.integers(0, len(THING_IDS), car.shape)]
    checkered = np.where(pixels.sum(0) % 2, 26, 24)
    nothing = np.zeros(pixels.shape)
    anywhere = rng.uniform(0, 1, pixels.shape) * extent - pixels
    yield 'all pixels one object, exact votes', _maps(car, extent / 2 - pixels)
    yield 'all pixels one class, uniform random votes', _maps(car, anywhere)
    yield 'all pixels one class, zero offsets', _maps(car, nothing)
    yield 'random class, uniform random votes', _maps(any_class, anywhere)
    yield 'random class, zero offsets', _maps(any_class, nothing)
    yield 'checkerboard of two classes, zero offsets', _maps(checkered, nothing)


def _maps(labels: np.ndarray, offsets: np.ndarray) -> Maps:
    certain = np.full(labels.shape, 255, np.uint8)
    return Maps(labels.astype(np.uint8), certain, offsets.astype(np.float32))


def predict_scenes(predictor: Predictor, seed: int, count: int) -> list[Scene]:
    """Return scenes of synthetic streets on which no network was trained."""
    scenes = []
    for index in tqdm(range(count), desc='network', unit='frame', disable=None):
        frame = synthetic_frame(split_seed(seed, 'test'), index)
        maps = predictor.infer(frame.image)
        if maps.offsets is not None and frame.instances is not None:
            scenes.append(Scene(Maps(maps.labels, maps.confidence, maps.offsets), frame.instances))
    return scenes


def compare_groupings(scenes: Sequence[Scene], repetitions: int) -> list[GroupingScores]:
    """Return the official AP and AP50 of every grouping on the same maps, and times per scene.

    "OPTICS on every vote" is scikit-learn's result. The exact OPTICS of this package computes it;
    its result is identical, its time is not measured here.
    """
    one_cut = GroupingParameters(relative_cut=0.0)
    timed: dict[str, Group] = {'this package': ours, **PEAKS}
    untimed: dict[str, Group] = {
        'this package, one cut for all': lambda maps: group_instances(*maps, one_cut),
        'OPTICS on every vote': functools.partial(_every_vote, extract=clusters_at),
        "OPTICS on every vote, scikit-learn's xi": functools.partial(_every_vote, extract=_xi),
    }
    # Each call of an alternative groups the next scene.
    maps, calls = [scene.maps for scene in scenes], repetitions * len(scenes)
    endless = {name: map(group, itertools.cycle(maps)) for name, group in timed.items()}
    times = time_in_turns(
        {name: (groupings.__next__, calls) for name, groupings in endless.items()},
        'time groupings',
    )
    rows = []
    for name, group in (timed | untimed).items():
        evaluation = OfficialInstance()
        for scene in tqdm(scenes, desc=name, unit='scene', disable=None):
            found = group(scene.maps)
            ids = resize_nearest(found.ids, *scene.truth.shape)
            evaluation.add(ids, found.scores, scene.truth)
        scores = evaluation.compute()
        ap, ap50 = (scores['ap'], scores['ap50']) if scores else (None, None)
        rows.append(GroupingScores(name, ap, ap50, times.get(name)))
    return rows


def measure_coarser_cells(scenes: Sequence[Scene]) -> list[CoarserCells]:
    """Compare the grouping of thing pixels on few cells with the grouping on 1-pixel cells."""
    rows = []
    for limit in COARSER:
        agreement, sizes = [], []
        for labels, confidence, offsets in (scene.maps for scene in scenes):
            cells = merge_votes(labels, offsets, limit)
            if cells.size == 1:
                continue
            sizes.append(cells.size)
            fine = merge_votes(labels, offsets, labels.size)
            both = (group_cells(labels, confidence, merged).ids for merged in (fine, cells))
            things = IS_THING[labels]
            agreement.append(float(adjusted_rand_score(*(ids[things] for ids in both))))
        found = (median(sizes), mean(agreement), min(agreement)) if sizes else (None, None, None)
        rows.append(CoarserCells(limit, len(sizes), *found))
    return rows


def ours(maps: Maps) -> Instances:
    """Group ``maps`` as ``Predictor`` does."""
    return group_instances(*maps)


def _every_vote(maps: Maps, extract: Callable[[Reachability, np.ndarray], np.ndarray]) -> Instances:
    """Group maps without merging their votes."""
    labels, confidence, offsets = maps
    pixels = np.flatnonzero(IS_THING[labels] & np.isfinite(offsets).all(0))
    pixels = pixels[np.argsort(labels.ravel()[pixels], kind='stable')]
    moves = offsets.reshape(2, -1)[:, pixels].T.astype(np.float64)
    y, x = np.divmod(pixels, labels.shape[1])
    cells = Cells(
        labels=labels.ravel()[pixels].astype(np.int64),
        points=np.stack([x, y], 1) + moves,
        weights=np.ones(pixels.size, np.int64),
        scales=np.hypot(*moves.T),
        size=1.0,
        pixels=pixels,
        of_pixel=np.arange(pixels.size),
    )
    return group_cells(labels, confidence, cells, extract=extract)


def _xi(plot: Reachability, _cuts: np.ndarray) -> np.ndarray:
    """Return the clusters of scikit-learn's default method."""
    n = len(plot.ordering)
    if n < MIN_SAMPLES:
        return np.full(n, -1)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)
        return cluster_optics_xi(
            reachability=plot.reachability,
            predecessor=plot.predecessor,
            ordering=plot.ordering,
            min_samples=MIN_SAMPLES,
        )[0]
