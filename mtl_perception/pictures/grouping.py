# SPDX-License-Identifier: Apache-2.0
"""Picture of the grouping of votes into instances, to tune its parameters."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mtl_perception.labels import INSTANCE_ID_BASE, LABELS
from mtl_perception.pictures.maps import color_instances
from mtl_perception.tasks.instance import Grouping

WIDTH = 15.0
PLOT_HEIGHT = 2.4
"""Inches; an inch has 100 pixels."""

FREE = (0.55, 0.55, 0.55)
"""Colour of votes without an instance."""


def draw_explanation(image: np.ndarray, grouping: Grouping) -> np.ndarray:
    """Return a picture of the votes on the image, the instances and the reachability plots.

    Each class has a plot with a bar for each cell, in the order of OPTICS. The height of a bar is
    the reachability of the cell; its colour is the colour of the instance. A line shows the cut: a
    bar above it starts another cluster. A bar of full height was out of reach of all cells before.
    The image is ``(H, W, 3)`` uint8 RGB, its grouping of any size.
    """
    rows = max(1, len(grouping.plots))
    top = WIDTH / 2 * image.shape[0] / image.shape[1] + 0.4
    figure = Figure(figsize=(WIDTH, top + rows * PLOT_HEIGHT), layout='constrained')
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1 + rows, 2, height_ratios=[top, *[PLOT_HEIGHT] * rows])
    _draw_votes(figure.add_subplot(grid[0, 0]), image, grouping)
    _draw_instances(figure.add_subplot(grid[0, 1]), image, grouping)
    for row, label in enumerate(grouping.plots, 1):
        _draw_plot(figure.add_subplot(grid[row, :]), grouping, label)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_votes(axes: Axes, image: np.ndarray, grouping: Grouping) -> None:
    cells = grouping.cells
    _show(axes, image, grouping.ids.shape)
    axes.scatter(
        cells.points[:, 0],
        cells.points[:, 1],
        s=4 + 2 * np.sqrt(cells.weights),
        c=_colors(grouping.cell_ids),
        edgecolors='black',
        linewidths=0.2,
    )
    axes.set_title(
        f'{cells.pixels.size:,} votes in {cells.labels.size:,} cells of {cells.size:.1f} px'
    )


def _draw_instances(axes: Axes, image: np.ndarray, grouping: Grouping) -> None:
    ids = grouping.ids
    _show(axes, image, ids.shape)
    overlay = np.dstack([color_instances(ids), np.where(ids >= INSTANCE_ID_BASE, 170, 0)])
    height, width = ids.shape
    axes.imshow(overlay.astype(np.uint8), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set_title(f'{len(grouping.scores)} instances')


def _draw_plot(axes: Axes, grouping: Grouping, label: int) -> None:
    plot = grouping.plots[label]
    cells = np.flatnonzero(grouping.cells.labels == label)[plot.ordering]
    reachability, cuts = plot.reachability[plot.ordering], grouping.cuts[cells]
    top = 1.2 * max(
        cuts.max(), reachability[np.isfinite(reachability)].max(initial=0.0), grouping.cells.size
    )
    position = np.arange(cells.size)
    colors = _colors(grouping.cell_ids[cells])
    axes.bar(position, np.minimum(reachability, top), width=1.0, color=colors)
    axes.step(position, cuts, where='mid', color='black', linewidth=1.0, label='cut')
    axes.set(
        xlim=(-0.5, cells.size - 0.5),
        ylim=(0, top),
        ylabel='reachability, px',
        title=f'{LABELS[label].name}: {cells.size:,} cells',
    )
    axes.legend(loc='upper right')


def _show(axes: Axes, image: np.ndarray, size: tuple[int, ...]) -> None:
    height, width = size
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image, extent=extent, aspect='auto', alpha=0.75)
    axes.set(xlim=extent[:2], ylim=extent[2:], xticks=(), yticks=())


def _colors(ids: np.ndarray) -> np.ndarray:
    colors = np.tile(FREE, (ids.size, 1))
    named = ids >= INSTANCE_ID_BASE
    if named.any():
        colors[named] = color_instances(ids[None, named])[0] / 255
    return colors
