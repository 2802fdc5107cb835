# SPDX-License-Identifier: Apache-2.0
"""Compiled half of ``optics.py``, in its own module because importing numba takes half a second.

The points are kept in a k-d tree, a cell list whose cells adapt to the density, so that outliers
and ``max_eps`` = inf need no special grid. Each node stores its bounding box and the largest
reachability of its unvisited points. A point can improve only nodes nearer than that, which skips
nearly all of them; scikit-learn examines every point within ``max_eps``.

The tree is perfect and needs no pointers: node ``2**level + j`` holds the tree positions from
``j * n >> level`` up to ``(j + 1) * n >> level``; its children are ``2 * node`` and
``2 * node + 1``.
"""

from typing import Any

import numba
import numpy as np

LEAF_SIZE = 8
ROUNDING = 10.0 ** np.finfo(np.float64).precision
DONE = -1.0
"""Reachability that marks a visited point; smaller than any distance."""
CERTAINLY_FARTHER = 1.0 - 1e-9
"""Factor on squared distances that exceeds any rounding error, to save square roots."""
STACK_SIZE = 128


def _compiled(function: Any) -> Any:
    """Return ``function``, compiled at its first call and without the interpreter lock."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba finds no writable directory for its cache
        return numba.njit(nogil=True)(function)


@_compiled
def run(points, weights, min_samples, max_eps):
    """Return the arrays of ``optics.Reachability``.

    ``points`` are ``(n, 2)`` float64, ``weights`` ``(n,)`` int64; n is at least 1.
    """
    n = len(points)
    levels = 0
    while n >> levels > LEAF_SIZE:
        levels += 1
    index = np.arange(n)  # index of the point at each tree position
    x, y = points[:, 0].copy(), points[:, 1].copy()
    boxes = _build_tree(x, y, index, levels)
    core = _core_distances(x, y, weights[index], boxes, levels, min_samples, max_eps)
    ordering, reachability, predecessor = _visit_all(x, y, index, core, boxes, levels, max_eps)
    core_distances = np.empty(n)
    core_distances[index] = core
    return ordering, reachability, core_distances, predecessor


@_compiled
def _build_tree(x, y, index, levels):
    """Sort the points into tree order in place; return (nodes, 4) left, right, top, bottom."""
    n = x.size
    boxes = np.empty((2 << levels, 4))
    for level in range(levels + 1):
        for j in range(1 << level):
            start, stop = (j * n) >> level, ((j + 1) * n) >> level
            left, right, top, bottom = x[start], x[start], y[start], y[start]
            for i in range(start + 1, stop):
                left, right = min(left, x[i]), max(right, x[i])
                top, bottom = min(top, y[i]), max(bottom, y[i])
            node = (1 << level) + j
            boxes[node, 0], boxes[node, 1] = left, right
            boxes[node, 2], boxes[node, 3] = top, bottom
            if level < levels:
                middle = ((2 * j + 1) * n) >> (level + 1)
                if right - left > bottom - top:
                    _partition(x, y, index, start, stop, middle)
                else:
                    _partition(y, x, index, start, stop, middle)
    return boxes


@_compiled
def _partition(keys, others, index, start, stop, middle):
    """Reorder ``start`` to ``stop`` so that keys before ``middle`` do not exceed later ones."""
    low, high = start, stop - 1
    while low < high:
        pivot = keys[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                others[i], others[j] = others[j], others[i]
                index[i], index[j] = index[j], index[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@_compiled
def _rounded(distance):
    """Return ``np.around(distance, 15)``, as scikit-learn rounds stored distances."""
    return np.rint(distance * ROUNDING) / ROUNDING


@_compiled
def _squared_distance(boxes, node, x, y):
    """Return a lower bound of the squared distances to a node's points, after rounding."""
    dx = max(boxes[node, 0] - x, x - boxes[node, 1], 0.0)
    dy = max(boxes[node, 2] - y, y - boxes[node, 3], 0.0)
    return dx * dx + dy * dy


@_compiled
def _core_distances(x, y, weights, boxes, levels, min_samples, max_eps):
    """Return the radius that holds ``min_samples`` around each point; inf above ``max_eps``."""
    n = x.size
    leaves = 1 << levels
    core = np.full(n, np.inf)
    # A little beyond max_eps; the distance itself is compared later, as in scikit-learn.
    limit = max_eps * max_eps * (1 + 1e-12) + 1e-300
    capacity = min(n, min_samples) + 1
    heap, heap_weights = np.empty(capacity), np.empty(capacity, np.int64)
    stack = np.empty(STACK_SIZE, np.int64)
    for leaf in range(leaves, 2 * leaves):
        start = ((leaf - leaves) * n) >> levels
        stop = ((leaf - leaves + 1) * n) >> levels
        for p in range(start, stop):
            if weights[p] >= min_samples:
                core[p] = 0.0
                continue
            # The nearest points so far, as few as needed; once enough, a heap, farthest first.
            size, total, bound = 0, 0, limit
            subtree, climbing = leaf, leaf
            while True:
                stack[0], depth = subtree, 1
                while depth > 0:
                    depth -= 1
                    node = stack[depth]
                    if _squared_distance(boxes, node, x[p], y[p]) >= bound:
                        continue
                    if node < leaves:
                        nearer, farther = 2 * node, 2 * node + 1
                        if _squared_distance(boxes, farther, x[p], y[p]) < _squared_distance(
                            boxes, nearer, x[p], y[p]
                        ):
                            nearer, farther = farther, nearer
                        stack[depth], stack[depth + 1] = farther, nearer
                        depth += 2
                        continue
                    first = ((node - leaves) * n) >> levels
                    for q in range(first, ((node - leaves + 1) * n) >> levels):
                        dx, dy = x[q] - x[p], y[q] - y[p]
                        squared = dx * dx + dy * dy
                        if squared >= bound:
                            continue
                        enough = total >= min_samples
                        total += weights[q]
                        if enough and total - heap_weights[0] >= min_samples:
                            total -= heap_weights[0]
                            _sink(heap, heap_weights, 0, size, squared, weights[q])
                        elif enough:
                            _rise(heap, heap_weights, size, squared, weights[q])
                            size += 1
                        else:
                            heap[size], heap_weights[size] = squared, weights[q]
                            size += 1
                            if total < min_samples:
                                continue
                            for i in range(size // 2 - 1, -1, -1):
                                _sink(heap, heap_weights, i, size, heap[i], heap_weights[i])
                        while total - heap_weights[0] >= min_samples:
                            total -= heap_weights[0]
                            size -= 1
                            _sink(heap, heap_weights, 0, size, heap[size], heap_weights[size])
                        bound = heap[0]
                if climbing == 1:
                    break
                subtree = climbing ^ 1
                climbing >>= 1
            if total >= min_samples:
                distance = np.sqrt(heap[0])
                if distance <= max_eps:
                    core[p] = _rounded(distance)
    return core


@_compiled
def _rise(heap, heap_weights, hole, key, weight):
    """Insert an entry at the end of a heap with the largest key first."""
    while hole > 0:
        parent = (hole - 1) >> 1
        if heap[parent] >= key:
            break
        heap[hole], heap_weights[hole] = heap[parent], heap_weights[parent]
        hole = parent
    heap[hole], heap_weights[hole] = key, weight


@_compiled
def _sink(heap, heap_weights, hole, size, key, weight):
    """Insert an entry at the hole, or below it under larger entries."""
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= key:
            break
        heap[hole], heap_weights[hole] = heap[child], heap_weights[child]
        hole = child
    heap[hole], heap_weights[hole] = key, weight


@_compiled
def _visit_all(x, y, index, core, boxes, levels, max_eps):
    """Return the ordering, and reachability and predecessors by point index."""
    n = x.size
    leaves = 1 << levels
    ordering = np.empty(n, np.int64)
    reachability = np.full(n, np.inf)
    predecessor = np.full(n, -1)
    position = np.empty(n, np.int64)
    position[index] = np.arange(n)
    pending = np.full(n, np.inf)  # reachability by tree position, DONE where visited
    farthest = np.full(2 << levels, np.inf)  # upper bound of pending in each node
    squared_eps = max_eps * max_eps
    stack = np.empty(STACK_SIZE, np.int64)
    # Queue: a heap of indices, smallest reachability first, ties by lowest index.
    queue, slot, queued = np.empty(n, np.int64), np.full(n, -1), 0
    unreached = 0
    for step in range(n):
        if queued:
            point = queue[0]
            queued -= 1
            if queued:
                _queue_sink(queue, slot, reachability, queued, queue[queued])
        else:
            while pending[position[unreached]] == DONE:
                unreached += 1
            point = unreached
        ordering[step] = point
        p = position[point]
        pending[p] = DONE
        if core[p] == np.inf:
            continue
        nearest = _rounded(core[p])
        stack[0], depth = 1, 1
        while depth > 0:
            depth -= 1
            node = stack[depth]
            reach = farthest[node]
            if reach <= nearest:
                continue
            squared = _squared_distance(boxes, node, x[p], y[p])
            if squared > squared_eps or squared * CERTAINLY_FARTHER > reach * reach:
                continue
            if squared >= reach * reach * CERTAINLY_FARTHER and _rounded(np.sqrt(squared)) >= reach:
                continue
            if node < leaves:
                stack[depth], stack[depth + 1] = 2 * node, 2 * node + 1
                depth += 2
                continue
            reach = DONE
            first = ((node - leaves) * n) >> levels
            for q in range(first, ((node - leaves + 1) * n) >> levels):
                before = pending[q]
                if before > nearest:
                    dx, dy = x[q] - x[p], y[q] - y[p]
                    squared = dx * dx + dy * dy
                    if squared <= squared_eps and squared * CERTAINLY_FARTHER <= before * before:
                        distance = _rounded(max(np.sqrt(squared), core[p]))
                        if distance < before:
                            other = index[q]
                            pending[q] = distance
                            reachability[other] = distance
                            predecessor[other] = point
                            if slot[other] < 0:
                                slot[other] = queued
                                queued += 1
                            _queue_rise(queue, slot, reachability, slot[other], other)
                reach = max(reach, pending[q])
            while reach < farthest[node]:
                farthest[node] = reach
                node >>= 1
                if node == 0:
                    break
                reach = max(farthest[2 * node], farthest[2 * node + 1])
    return ordering, reachability, predecessor


@_compiled
def _before(keys, a, b):
    return keys[a] < keys[b] or (keys[a] == keys[b] and a < b)


@_compiled
def _queue_rise(queue, slot, keys, hole, item):
    """Insert ``item`` at the hole, or above it before parents that come later."""
    while hole > 0:
        parent = (hole - 1) >> 1
        if not _before(keys, item, queue[parent]):
            break
        queue[hole] = queue[parent]
        slot[queue[hole]] = hole
        hole = parent
    queue[hole] = item
    slot[item] = hole


@_compiled
def _queue_sink(queue, slot, keys, size, item):
    """Replace the first of ``size`` entries by ``item``."""
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= size:
            break
        if child + 1 < size and _before(keys, queue[child + 1], queue[child]):
            child += 1
        if not _before(keys, queue[child], item):
            break
        queue[hole] = queue[child]
        slot[queue[hole]] = hole
        hole = child
    queue[hole] = item
    slot[item] = hole
