# SPDX-License-Identifier: Apache-2.0
"""Styles of streets: width, buildings, plants, people and traffic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """Parameters of a random street; pairs are ranges.

    Attributes:
        lanes: Lanes in each direction, with repetitions as weights.
        parked: Share of the roadside taken by parked vehicles.
        walk: Width of the sidewalk in metres; below 1 means none.
        verge: Width in metres of the grass or soil between the road and the sidewalk.
        setback: Metres between the sidewalk and the buildings.
        built: Share of the lots with a building.
        block: Share of blocks among the buildings; the rest are houses.
        green: Trees along the kerb, per metre of a side.
        wild: Trees and bushes on open lots, per metre of a side.
        crowd: Pedestrians per metre of a side.
        clutter: Pieces of street furniture per metre of a side.
        traffic: Share of a lane taken by vehicles.
        marked: Probability of road marks.
        paved: Probability that open ground is paved; otherwise it is overgrown.
    """

    lanes: tuple[int, ...]
    parked: float
    walk: tuple[float, float]
    verge: tuple[float, float]
    setback: tuple[float, float]
    built: float
    block: float
    green: float
    wild: float
    crowd: float
    clutter: float
    traffic: float
    marked: float
    paved: float


STYLES = {
    'centre': Style(
        (1, 1, 2), 0.5, (2, 5), (0, 0), (0, 1), 0.95, 0.95, 0.02, 0.01, 0.14, 0.04, 0.35, 0.85, 0.9
    ),
    'residential': Style(
        (1,), 0.45, (1.5, 3.5), (0, 1.5), (3, 8), 0.8, 0.15, 0.03, 0.05, 0.04, 0.015, 0.25, 0.6, 0.1
    ),
    'avenue': Style(
        (1, 2, 2), 0.3, (2, 4), (0, 3), (2, 8), 0.7, 0.7, 0.07, 0.04, 0.06, 0.02, 0.4, 0.95, 0.4
    ),
    'arterial': Style(
        (2, 3), 0.0, (1, 4), (0, 4), (6, 20), 0.4, 0.7, 0.02, 0.08, 0.02, 0.01, 0.45, 1.0, 0.2
    ),
    'outskirts': Style(
        (1, 1, 2), 0.08, (0, 2), (0, 4), (4, 14), 0.35, 0.3, 0.02, 0.1, 0.04, 0.02, 0.3, 0.5, 0.05
    ),
    'market': Style(
        (1, 2), 0.35, (0, 4), (0, 1), (0, 3), 0.9, 0.85, 0.015, 0.02, 0.13, 0.08, 0.45, 0.3, 0.5
    ),
}
STYLE_WEIGHTS = {
    'centre': 5, 'residential': 4, 'avenue': 4, 'arterial': 3, 'outskirts': 3, 'market': 3,
}  # fmt: skip
