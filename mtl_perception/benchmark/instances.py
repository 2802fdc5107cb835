"""How fast and how good the grouping of votes is, beside scikit-learn's and Panoptic-DeepLab's."""

import functools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from mtl_perception.benchmark.measuring import (
    machine,
    milliseconds_columns,
    time_in_turns,
    times_of,
)
from mtl_perception.evaluation.official import OfficialInstance
from mtl_perception.frame import Frame, resize_nearest
from mtl_perception.labels import INSTANCE_ID_BASE, IS_THING, THING_IDS
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

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Predictor

CENTERS, SPREAD = 10, 2.0
"""OPTICS is timed on votes around so many centres, with this standard deviation in pixels."""
MAX_EPS, MIN_SAMPLES, CUT = 10.0, 10, 1.5
SEEDS = 10
HEIGHT, WIDTH = 128, 256
"""Size of the maps whose worst cases are searched."""
RETIMED = 5
"""How many of the slowest maps that the search found are timed again, more often."""
COARSER = (1000, MAX_CELLS, 500, 250)
"""Limits of the number of cells for which the loss by merging is measured."""


@dataclass(frozen=True)
class Maps:
    """What there is to group.

    Attributes:
        labels: ``(h, w)`` uint8 label IDs.
        confidence: ``(h, w)`` uint8, 255 is certain.
        offsets: ``(2, h, w)`` float32 pixels.
    """

    labels: np.ndarray
    confidence: np.ndarray
    offsets: np.ndarray


Group = Callable[[Maps], Instances]


@dataclass(frozen=True)
class Scene:
    """What a network says of one frame, and its true ``(H, W)`` instance IDs."""

    maps: Maps
    truth: np.ndarray


@dataclass(frozen=True)
class Peaks:
    """Grouping as Panoptic-DeepLab does it: centres are the peaks of a heat map.

    Cheng et al., *Panoptic-DeepLab*, CVPR 2020, section 3.2. There the network predicts the heat
    map; here it is the blurred histogram of the votes, so that all groupings have the same input.

    Attributes:
        kernel: pixels across which a peak must be the highest.
        blur: standard deviation of the Gaussian over the histogram, pixels; 0 for none.
        threshold: least votes within the Gaussian's 2πσ² pixels, or in one pixel without blur.
    """

    kernel: int
    blur: float
    threshold: float = 10.0

    def __call__(self, maps: Maps) -> Instances:
        """Give every pixel to the nearest peak of its class."""
        labels, confidence, offsets = maps.labels, maps.confidence, maps.offsets
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
        y, x = np.nonzero((heat == highest) & (heat >= self.threshold))
        return np.stack([x, y])[:, :INSTANCE_ID_BASE]


PEAKS = {
    'peaks of the vote histogram, 3×3': Peaks(3, 0.0),
    'peaks of the vote histogram, 7×7': Peaks(7, 0.0),
    'peaks of the histogram blurred by 2 px, 7×7': Peaks(7, 2.0),
    'peaks of the histogram blurred by 4 px, 7×7': Peaks(7, 4.0),
}


def benchmark_instances(
    scenes: Sequence[Scene],
    *,
    seed: int = 0,
    votes: int = 10_000,
    repetitions: int = 20,
    reference_repetitions: int = 3,
    draws: int = 300,
) -> dict[str, Any]:
    """Measure OPTICS and the grouping, and return the figures, ready for JSON; times are in ms.

    Args:
        scenes: on which groupings are compared; none for no comparison.
        seed: of everything random.
        votes: that OPTICS is timed on.
        repetitions: how often everything is timed but scikit-learn.
        reference_repetitions: how often scikit-learn is timed, which takes seconds a call.
        draws: random maps among which the slowest is searched.
    """
    compile_optics()
    figures = {
        'machine': {
            **machine(),
            'numba': version('numba'),
            'scikit_learn': version('scikit-learn'),
        },
        'optics': measure_optics(seed, votes, repetitions, reference_repetitions),
        'worst': search_worst(seed, repetitions, draws),
    }
    if scenes:
        figures['groupings'] = compare_groupings(scenes, repetitions)
        figures['coarser_cells'] = measure_coarser_cells(scenes)
    return figures


def measure_optics(
    seed: int, votes: int, repetitions: int, reference_repetitions: int
) -> dict[str, Any]:
    """Time exact and weighted OPTICS in turns with scikit-learn's, and compare their results."""
    from sklearn.cluster import OPTICS
    from sklearn.metrics import adjusted_rand_score

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
            'exact': (lambda: clusters_at(_exact(points), CUT), repetitions),
            'weighted': (lambda: weighted_clusters(points), repetitions),
            'scikit_learn': (lambda: reference.fit(points), reference_repetitions),
        },
        'OPTICS',
    )
    theirs = Reachability(
        reference.ordering_,
        reference.reachability_,
        reference.core_distances_,
        reference.predecessor_,
    )
    agreement = []
    for other in range(seed, seed + SEEDS):
        points = random_votes(other, votes)
        exact = clusters_at(_exact(points), CUT)
        agreement.append(float(adjusted_rand_score(exact, weighted_clusters(points))))
    return {
        'votes': votes,
        'exact': asdict(times['exact']),
        'weighted': asdict(times['weighted']),
        'scikit_learn': asdict(times['scikit_learn']),
        'exact_ratio': times['scikit_learn'].median / times['exact'].median,
        'weighted_ratio': times['scikit_learn'].median / times['weighted'].median,
        'identical': all(map(np.array_equal, _exact(random_votes(seed, votes)), theirs)),
        'weighted_ari': statistics.mean(agreement),
        'weighted_ari_lowest': min(agreement),
        'seeds': SEEDS,
    }


def random_votes(seed: int, votes: int) -> np.ndarray:
    """Return ``(votes, 2)`` points around ``CENTERS`` places in a map."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform((0, 0), (WIDTH, HEIGHT), (CENTERS, 2))
    return centers[rng.integers(0, CENTERS, votes)] + rng.normal(0, SPREAD, (votes, 2))


def weighted_clusters(points: np.ndarray) -> np.ndarray:
    """Return the cluster of each of ``(n, 2)`` votes, found on votes merged into 1-pixel cells."""
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
    plot = optics(means, weights=weights, min_samples=MIN_SAMPLES, max_eps=MAX_EPS)
    return clusters_at(plot, CUT)[cell]


def search_worst(seed: int, repetitions: int, draws: int) -> list[dict[str, Any]]:
    """Time ``group_instances`` on the maps that should be slow and on the slowest of random ones.

    Returns one row a map, the slowest first.
    """
    cases = dict(_suspects(np.random.default_rng(seed)))
    for maps in cases.values():
        ours(maps)
    found = []
    for draw in tqdm(range(draws), desc='search for slow maps', unit='map', disable=None):
        _, maps = random_maps(np.random.default_rng([seed, draw]))
        start = time.process_time()  # once each, so whatever else the machine does must not count
        ours(maps)
        found.append((time.process_time() - start, draw))
    for _, draw in sorted(found, reverse=True)[:RETIMED]:
        name, maps = random_maps(np.random.default_rng([seed, draw]))
        cases[f'draw {draw}: {name}'] = maps
    times = time_in_turns(
        {name: (functools.partial(ours, maps), repetitions) for name, maps in cases.items()},
        'slow maps',
    )
    rows = []
    for name, maps in cases.items():
        cells = merge_votes(maps.labels, maps.offsets)
        rows.append(
            {
                'map': name,
                **asdict(times[name]),
                'cells': cells.labels.size,
                'cell_px': cells.size,
                'instances': len(ours(maps).scores),
            }
        )
    return sorted(rows, key=lambda row: -row['median'])


def random_maps(rng: np.random.Generator) -> tuple[str, Maps]:
    """Return a description and the maps of something that is hard to group."""
    block = int(rng.choice((1, 2, 3, 5, 8, 16, 32, 64, 128)))
    classes = int(rng.integers(1, len(THING_IDS) + 1))
    share = float(rng.choice((1.0, 1.0, 0.6, 0.25)))
    gathered = float(rng.choice((0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)))
    noise = float(rng.choice((0.0, 0.0, 0.3, 1.0, 2.0, 4.0, 8.0, 30.0)))
    kind = str(rng.choice(('normal', 'uniform', 'cauchy', 'whole')))
    pixels = np.indices((HEIGHT, WIDTH))[::-1]
    x, y = pixels
    of_block = rng.integers(0, classes, (HEIGHT // block + 1, WIDTH // block + 1))
    labels = np.array(THING_IDS, np.uint8)[of_block[y // block, x // block]]
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
    of_any_class = np.array(THING_IDS)[rng.integers(0, len(THING_IDS), car.shape)]
    checkered = np.where(pixels.sum(0) % 2, 26, 24)
    nothing = np.zeros(pixels.shape)
    anywhere = rng.uniform(0, 1, pixels.shape) * extent - pixels
    yield 'all pixels one object, exact votes', _maps(car, extent / 2 - pixels)
    yield 'all pixels one class, uniform random votes', _maps(car, anywhere)
    yield 'all pixels one class, zero offsets', _maps(car, nothing)
    yield 'random class, uniform random votes', _maps(of_any_class, anywhere)
    yield 'random class, zero offsets', _maps(of_any_class, nothing)
    yield 'checkerboard of two classes, zero offsets', _maps(checkered, nothing)


def _maps(labels: np.ndarray, offsets: np.ndarray) -> Maps:
    certain = np.full(labels.shape, 255, np.uint8)
    return Maps(labels.astype(np.uint8), certain, offsets.astype(np.float32))


def scenes_of(predictor: 'Predictor', frames: Iterator[Frame], total: int) -> list[Scene]:
    """Return what ``predictor`` says of ``frames``; grouping is left for later."""
    scenes = []
    for frame in tqdm(frames, desc='network', total=total, unit='frame', disable=None):
        if frame.instances is None:
            msg = f'{frame.name}: has no instance ground truth'
            raise ValueError(msg)
        prediction = predictor.predict(frame.image, depth=False)
        if prediction.offsets is not None:
            maps = Maps(prediction.labels, prediction.confidence, prediction.offsets)
            scenes.append(Scene(maps, frame.instances))
    return scenes


def compare_groupings(scenes: Sequence[Scene], repetitions: int) -> list[dict[str, Any]]:
    """Return the official AP and AP50 of every grouping on the same maps, and times of a scene.

    OPTICS on every vote is scikit-learn's result, found by the exact OPTICS of this package, which
    is identical and not timed here.
    """
    timed: dict[str, Group] = {'this package': ours, **PEAKS}
    untimed: dict[str, Group] = {
        'this package, one cut for all': functools.partial(
            ours, parameters=GroupingParameters(relative_cut=0.0)
        ),
        'OPTICS on every vote': functools.partial(_every_vote, extract=clusters_at),
        "OPTICS on every vote, scikit-learn's xi": functools.partial(_every_vote, extract=_xi),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in tqdm(range(repetitions), desc='time groupings', unit='round', disable=None):
        for scene in scenes:
            for name, group in timed.items():
                start = time.perf_counter()
                group(scene.maps)
                milliseconds[name].append((time.perf_counter() - start) * 1e3)
    rows = []
    for name, group in (timed | untimed).items():
        evaluation = OfficialInstance()
        for scene in tqdm(scenes, desc=name, unit='scene', disable=None):
            found = group(scene.maps)
            ids = resize_nearest(found.ids, *scene.truth.shape)
            evaluation.add(ids, found.scores, scene.truth)
        scores = evaluation.compute()
        rows.append(
            {
                'grouping': name,
                'ap': scores and scores['ap'],
                'ap50': scores and scores['ap50'],
                'times': asdict(times_of(milliseconds[name])) if name in timed else None,
            }
        )
    return rows


def measure_coarser_cells(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Return how well grouping agrees with that of 1-pixel cells when there may be fewer cells.

    Only scenes whose cells grow count; agreement is the adjusted Rand index over thing pixels.
    """
    from sklearn.metrics import adjusted_rand_score

    rows = []
    for limit in COARSER:
        agreement, sizes = [], []
        for scene in scenes:
            maps = scene.maps
            cells = merge_votes(maps.labels, maps.offsets, limit)
            if cells.size == 1:
                continue
            sizes.append(cells.size)
            fine = merge_votes(maps.labels, maps.offsets, maps.labels.size)
            both = (
                group_cells(maps.labels, maps.confidence, merged).instances.ids
                for merged in (fine, cells)
            )
            both = (ids[IS_THING[maps.labels]] for ids in both)
            agreement.append(float(adjusted_rand_score(*both)))
        rows.append(
            {
                'max_cells': limit,
                'grown_scenes': len(sizes),
                'median_cell_px': statistics.median(sizes) if sizes else None,
                'ari': statistics.mean(agreement) if agreement else None,
                'ari_lowest': min(agreement, default=None),
            }
        )
    return rows


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures of ``benchmark_instances`` as text."""
    return '\n'.join(_table_lines(figures))


def _table_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    where, found = figures['machine'], figures['optics']
    yield f'{where["cpu"]}, {where["cores"]} cores, one used; numba {where["numba"]}'
    yield ''
    heading = f'OPTICS of {found["votes"]:,} votes'
    yield f'{heading:<48}{"calls":>6}{"median":>12}{"p99":>12}'
    for key, name in (
        ('scikit_learn', f'scikit-learn {where["scikit_learn"]}'),
        ('exact', 'exact'),
        ('weighted', 'weighted, merging included'),
    ):
        yield f'{name:<48}{found[key]["calls"]:>6}{milliseconds_columns(found[key])}'
    yield (
        f'exact: {found["exact_ratio"]:,.0f} times as fast, '
        f'{"identical" if found["identical"] else "NOT IDENTICAL"}; '
        f'weighted: {found["weighted_ratio"]:,.0f} times as fast, '
        f'adjusted Rand index to exact {found["weighted_ari"]:.3f} '
        f'(mean over {found["seeds"]} seeds, lowest {found["weighted_ari_lowest"]:.3f})'
    )
    yield ''
    yield f'{f"slowest {HEIGHT}×{WIDTH} maps":<80}{"cells":>6}{"px":>6}{"median":>12}{"p99":>12}'
    for row in figures['worst']:
        yield f'{row["map"]:<80}{row["cells"]:>6}{row["cell_px"]:>6.1f}{milliseconds_columns(row)}'
    if 'groupings' not in figures:
        return
    yield ''
    yield f'{"groupings of the same votes":<48}{"AP50":>8}{"AP":>8}{"median":>12}{"p99":>12}'
    for row in figures['groupings']:
        times = row['times']
        yield f'{row["grouping"]:<48}{_percent(row["ap50"])}{_percent(row["ap"])}' + (
            milliseconds_columns(times) if times else ''
        )
    yield ''
    yield f'{"cells that grow":<32}{"scenes":>8}{"px":>6}{"ARI":>8}{"lowest":>8}'
    for row in figures['coarser_cells']:
        yield f'at most {row["max_cells"]:<24}{row["grown_scenes"]:>8}' + (
            f'{row["median_cell_px"]:>6.1f}{row["ari"]:>8.3f}{row["ari_lowest"]:>8.3f}'
            if row['grown_scenes']
            else ''
        )


def ours(
    maps: Maps,
    parameters: GroupingParameters = GroupingParameters(),  # noqa: B008 (frozen)
) -> Instances:
    """Group ``maps`` as the predictor does."""
    return group_instances(maps.labels, maps.confidence, maps.offsets, parameters)


def _exact(points: np.ndarray) -> Reachability:
    return optics(points, min_samples=MIN_SAMPLES, max_eps=MAX_EPS)


def _every_vote(maps: Maps, extract: Callable[[Reachability, np.ndarray], np.ndarray]) -> Instances:
    """Group votes that are not merged."""
    labels, offsets = maps.labels, maps.offsets
    width = labels.shape[1]
    pixels = np.flatnonzero(IS_THING[labels] & np.isfinite(offsets).all(0))
    pixels = pixels[np.argsort(labels.ravel()[pixels], kind='stable')]
    moves = offsets.reshape(2, -1)[:, pixels].T.astype(np.float64)
    y, x = np.divmod(pixels, width)
    cells = Cells(
        labels=labels.ravel()[pixels].astype(np.int64),
        points=np.stack([x, y], 1) + moves,
        weights=np.ones(pixels.size, np.int64),
        scales=np.hypot(*moves.T),
        size=1.0,
        pixels=pixels,
        of_pixel=np.arange(pixels.size),
    )
    return group_cells(labels, maps.confidence, cells, extract=extract).instances


def _xi(plot: Reachability, _cuts: np.ndarray) -> np.ndarray:
    """Return clusters as scikit-learn's OPTICS does by default."""
    from sklearn.cluster import cluster_optics_xi

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


def _percent(share: float | None) -> str:
    return f'{"–" if share is None else format(share * 100, ".1f") + " %":>8}'
