"""A z-buffer: which triangle of a mesh each sample of an image sees, and how far away it is."""

from typing import NamedTuple

import numba
import numpy as np

NEAR = 0.25
"""Metres; what is nearer to the camera is not drawn."""


class Eye(NamedTuple):
    """A projection: ``matrix`` takes offsets from ``position`` to samples (x·Z, y·Z, Z)."""

    matrix: np.ndarray
    position: np.ndarray


@numba.njit(cache=True, error_model='numpy')
def rasterize(
    eye: Eye,
    corners: np.ndarray,
    uv: np.ndarray,
    cover_layers: np.ndarray,
    bias: np.ndarray,
    hidden: np.ndarray,
    covers: np.ndarray,
    inverse_depth: np.ndarray,
    faces: np.ndarray,
) -> np.ndarray:
    """Draw triangles into ``inverse_depth`` (zero at first) and ``faces`` (-1 at first), in place.

    Homogeneous rasterization (Olano and Greer, *Triangle Scan Conversion Using 2D Homogeneous
    Coordinates*, 1997): the rows of the inverse corner matrix are the barycentric coordinates over
    depth, affine in the image, so that nothing has to be clipped.

    Args:
        eye: from where; its samples are the elements of ``faces``.
        corners: ``(F, 3, 3)`` float32, world coordinates.
        uv: ``(F, 3, 2)`` float32, texture coordinates of the corners.
        cover_layers: ``(F,)`` int32, layer of ``covers`` that cuts the face out; -1 for none.
        bias: ``(F,)`` float32, relative gain in the depth test, for decals on coplanar faces.
        hidden: ``(F,)`` bool, faces to leave out.
        covers: ``(L, S, S)`` uint8, opaque where 128 or more.
        inverse_depth: ``(H, W)`` float32, 1/metres.
        faces: ``(H, W)`` int32.

    Returns:
        ``(F, 3, 3)`` float64: row i, applied to (x, y, 1), is barycentric coordinate i over depth.
    """
    height, width = faces.shape
    size = covers.shape[1]
    edges = np.zeros((len(corners), 3, 3))
    projected = np.empty((3, 3))
    for f in range(len(corners)):
        if hidden[f]:
            continue
        _project_face(eye, corners, f, projected)
        left, right, top, bottom = _bounds(projected, width, height)
        if left > right or top > bottom or not _invert(projected, edges[f]):
            continue
        ax, ay, ac = edges[f, 0, 0], edges[f, 0, 1], edges[f, 0, 2]
        bx, by, bc = edges[f, 1, 0], edges[f, 1, 1], edges[f, 1, 2]
        cx, cy, cc = edges[f, 2, 0], edges[f, 2, 1], edges[f, 2, 2]
        step = ax + bx + cx
        gain = 1.0 + bias[f]
        layer = cover_layers[f]
        for y in range(top, bottom + 1):
            a, b, c = ay * y + ac, by * y + bc, cy * y + cc
            lo, hi = _span(ax, a, float(left), float(right))
            lo, hi = _span(bx, b, lo, hi)
            lo, hi = _span(cx, c, lo, hi)
            for x in range(int(np.ceil(lo)), int(np.floor(hi)) + 1):
                inverse = step * x + a + b + c
                if inverse * gain <= inverse_depth[y, x] or inverse > 1.0 / NEAR:
                    continue
                if layer >= 0:
                    p, q, r = ax * x + a, bx * x + b, cx * x + c
                    u = (p * uv[f, 0, 0] + q * uv[f, 1, 0] + r * uv[f, 2, 0]) / inverse
                    v = (p * uv[f, 0, 1] + q * uv[f, 1, 1] + r * uv[f, 2, 1]) / inverse
                    row = int((v - np.floor(v)) * size) & (size - 1)
                    column = int((u - np.floor(u)) * size) & (size - 1)
                    if covers[layer, row, column] < 128:
                        continue
                inverse_depth[y, x] = inverse * gain
                faces[y, x] = f
    return edges


@numba.njit(cache=True, error_model='numpy')
def _span(slope, rest, lo, hi):
    """Narrow a row's span to where ``slope · x + rest`` is not negative."""
    if slope > 0.0:
        return max(lo, -rest / slope - 1e-7), hi
    if slope < 0.0:
        return lo, min(hi, -rest / slope + 1e-7)
    return lo, (hi if rest >= 0.0 else -1.0)


@numba.njit(cache=True, error_model='numpy')
def _project_face(eye, corners, f, out):
    m = eye.matrix
    for i in range(3):
        x = corners[f, i, 0] - eye.position[0]
        y = corners[f, i, 1] - eye.position[1]
        z = corners[f, i, 2] - eye.position[2]
        for j in range(3):
            out[i, j] = m[j, 0] * x + m[j, 1] * y + m[j, 2] * z


@numba.njit(cache=True, error_model='numpy')
def _bounds(corners, width, height):
    """First and last column, first and last row that the part beyond ``NEAR`` can touch."""
    x0, x1, y0, y1 = np.inf, -np.inf, np.inf, -np.inf
    for i in range(3):
        x, y, z = corners[i]
        next_x, next_y, next_z = corners[(i + 1) % 3]
        if z >= NEAR:
            x0, x1 = min(x0, x / z), max(x1, x / z)
            y0, y1 = min(y0, y / z), max(y1, y / z)
        if (z >= NEAR) != (next_z >= NEAR):
            t = (NEAR - z) / (next_z - z)
            x, y = (x + t * (next_x - x)) / NEAR, (y + t * (next_y - y)) / NEAR
            x0, x1 = min(x0, x), max(x1, x)
            y0, y1 = min(y0, y), max(y1, y)
    if x0 > x1 or x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
        return 1, 0, 1, 0
    return (
        int(np.ceil(max(x0, 0.0))),
        int(np.floor(min(x1, width - 1.0))),
        int(np.ceil(max(y0, 0.0))),
        int(np.floor(min(y1, height - 1.0))),
    )


@numba.njit(cache=True, error_model='numpy')
def _invert(corners, out):
    """Write the inverse of the matrix whose columns are the corners; false for an edge-on face."""
    ax, ay, az = corners[0]
    bx, by, bz = corners[1]
    cx, cy, cz = corners[2]
    out[0] = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
    out[1] = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
    out[2] = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    det = ax * out[0, 0] + ay * out[0, 1] + az * out[0, 2]
    if abs(det) < 1e-12:
        return False
    for i in range(3):
        for j in range(3):
            out[i, j] /= det
    return True
