# SPDX-License-Identifier: Apache-2.0
"""Z-buffer: the visible triangle and its inverse depth at each sample of an image."""

from typing import NamedTuple

import numba
import numpy as np

NEAR = 0.25
"""Distance of the near clipping plane in metres."""


class Eye(NamedTuple):
    """Projection; ``matrix`` maps offsets from ``position`` to samples (x · Z, y · Z, Z)."""

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
    stride: int,
    inverse_depth: np.ndarray,
    faces: np.ndarray | None,
    edges: np.ndarray | None,
) -> None:
    """Draw triangles into ``inverse_depth`` and ``faces`` in place.

    Homogeneous rasterization (Olano and Greer, *Triangle Scan Conversion Using 2D Homogeneous
    Coordinates*, 1997): the rows of the inverse corner matrix are the barycentric coordinates over
    depth, which are affine in the image, so clipping is unnecessary.

    Element (y, i) is the sample at x = ``stride`` · i + y % ``stride``: stride 1 covers all
    samples of the plane, stride 2 a quincunx.

    Args:
        eye: Projection of the samples.
        corners: ``(F, 3, 3)`` float32, world coordinates in metres.
        uv: ``(F, 3, 2)`` float32, texture coordinates of the corners.
        cover_layers: ``(F,)`` int32, layer of ``covers`` that masks the face; -1 for none.
        bias: ``(F,)`` float32, relative gain in the depth test, for decals on coplanar faces.
        hidden: ``(F,)`` bool, faces to skip.
        covers: ``(L, S, S / 8)`` uint8, one bit per texel, least significant first: opaque or not.
        stride: 1 or 2.
        inverse_depth: ``(H, W)`` float32 in 1/metres, initially zero.
        faces: ``(H, W)`` int32, index of the visible face, initially -1; ``None`` to omit it.
        edges: ``(F, 3, 3)`` float64 output or ``None``: row i of a drawn face, applied to
            (x, y, 1), is barycentric coordinate i over depth.
    """
    height, width = inverse_depth.shape[0], stride * (inverse_depth.shape[1] - 1) + 1
    size, dense = covers.shape[1], 1.0 / stride
    projected, inverted = np.empty((3, 3)), np.empty((3, 3))
    for f in range(len(corners)):
        if hidden[f]:
            continue
        _project_face(eye, corners, f, projected)
        left, right, top, bottom = _bounds(projected, width, height)
        if left > right or top > bottom or not _invert(projected, inverted):
            continue
        if edges is not None:
            edges[f] = inverted
        ax, ay, ac = inverted[0]
        bx, by, bc = inverted[1]
        cx, cy, cc = inverted[2]
        a_low, a_rise, a_high, a_fall = _limits(ax)
        b_low, b_rise, b_high, b_fall = _limits(bx)
        c_low, c_rise, c_high, c_fall = _limits(cx)
        step = ax + bx + cx
        u_step = ax * uv[f, 0, 0] + bx * uv[f, 1, 0] + cx * uv[f, 2, 0]
        v_step = ax * uv[f, 0, 1] + bx * uv[f, 1, 1] + cx * uv[f, 2, 1]
        gain = 1.0 + bias[f]
        layer = cover_layers[f]
        for y in range(top, bottom + 1):
            a, b, c = ay * y + ac, by * y + bc, cy * y + cc
            low = max(max(a * a_rise + a_low, b * b_rise + b_low), max(c * c_rise + c_low, left))
            high = min(
                min(a * a_fall + a_high, b * b_fall + b_high), min(c * c_fall + c_high, right)
            )
            shift = y % stride
            first = int(np.ceil((low - shift) * dense))
            last = int(np.floor((high - shift) * dense))
            if layer >= 0:
                u_row = a * uv[f, 0, 0] + b * uv[f, 1, 0] + c * uv[f, 2, 0]
                v_row = a * uv[f, 0, 1] + b * uv[f, 1, 1] + c * uv[f, 2, 1]
            for i in range(first, last + 1):
                x = stride * i + shift
                inverse = step * x + a + b + c
                if inverse * gain <= inverse_depth[y, i] or inverse > 1.0 / NEAR:
                    continue
                if layer >= 0:
                    depth = 1.0 / inverse
                    u, v = (u_step * x + u_row) * depth, (v_step * x + v_row) * depth
                    row = int((v - np.floor(v)) * size) & (size - 1)
                    column = int((u - np.floor(u)) * size) & (size - 1)
                    if not covers[layer, row, column >> 3] >> (column & 7) & 1:
                        continue
                inverse_depth[y, i] = inverse * gain
                if faces is not None:
                    faces[y, i] = f


@numba.njit(cache=True, error_model='numpy')
def _limits(slope):
    """Return the limits of x where ``slope · x + rest`` is not negative.

    The result is the offset and the factor of ``rest`` for the lowest x, then for the highest x.
    """
    if slope > 0.0:
        return -1e-7, -1.0 / slope, np.inf, 0.0
    if slope < 0.0:
        return -np.inf, 0.0, 1e-7, -1.0 / slope
    return -np.inf, 0.0, 1e9, 1e300  # all x, unless the rest is negative


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
    """Return the first and last column and row of the part beyond ``NEAR``."""
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
    """Write the inverse of the matrix of column corners; return false for an edge-on face."""
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
