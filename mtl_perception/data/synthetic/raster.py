"""A z-buffer: which triangle of a mesh each sample of an image sees, and how far away it is."""

import numba
import numpy as np

NEAR = 0.25
"""Metres; what is nearer to the camera is not drawn."""


@numba.njit(cache=True, fastmath=False)
def rasterize(
    corners: np.ndarray,
    uv: np.ndarray,
    cover_layers: np.ndarray,
    bias: np.ndarray,
    covers: np.ndarray,
    inverse_depth: np.ndarray,
    faces: np.ndarray,
) -> np.ndarray:
    """Draw triangles into ``inverse_depth`` (zero at first) and ``faces`` (-1 at first), in place.

    Homogeneous rasterization (Olano and Greer, *Triangle Scan Conversion Using 2D Homogeneous
    Coordinates*, 1997): the rows of the inverse corner matrix are the barycentric coordinates over
    depth, affine in the image, so that nothing has to be clipped.

    Args:
        corners: ``(F, 3, 3)`` float64, homogeneous sample coordinates (x·Z, y·Z, Z).
        uv: ``(F, 3, 2)`` float32, where ``cover_layers`` wants a cut-out.
        cover_layers: ``(F,)`` int32, layer of ``covers`` to cut the face out with; -1 for a full face.
        bias: ``(F,)`` float32, relative gain in the depth test, for decals on coplanar faces.
        covers: ``(L, S, S)`` uint8, opaque where 128 or more.
        inverse_depth: ``(H, W)`` float32, 1/metres.
        faces: ``(H, W)`` int32.

    Returns:
        ``(F, 3, 3)`` float64: row i, applied to (x, y, 1), is barycentric coordinate i over depth.
    """
    height, width = faces.shape
    size = covers.shape[1]
    edges = np.zeros((len(corners), 3, 3))
    for f in range(len(corners)):
        left, right, top, bottom = _bounds(corners[f], width, height)
        if left > right or top > bottom or not _invert(corners[f], edges[f]):
            continue
        e = edges[f]
        a = e[0, 0] + e[1, 0] + e[2, 0]
        gain = 1.0 + bias[f]
        layer = cover_layers[f]
        for y in range(top, bottom + 1):
            lo, hi = float(left), float(right)
            for i in range(3):
                rest = e[i, 1] * y + e[i, 2]
                if e[i, 0] > 0.0:
                    lo = max(lo, -rest / e[i, 0] - 1e-7)
                elif e[i, 0] < 0.0:
                    hi = min(hi, -rest / e[i, 0] + 1e-7)
                elif rest < 0.0:
                    hi = -1.0
            b = (e[0, 1] + e[1, 1] + e[2, 1]) * y + e[0, 2] + e[1, 2] + e[2, 2]
            for x in range(int(np.ceil(lo)), int(np.floor(hi)) + 1):
                inverse = a * x + b
                if inverse * gain <= inverse_depth[y, x] or inverse > 1.0 / NEAR:
                    continue
                if layer >= 0:
                    u, v = 0.0, 0.0
                    for i in range(3):
                        share = (e[i, 0] * x + e[i, 1] * y + e[i, 2]) / inverse
                        u += share * uv[f, i, 0]
                        v += share * uv[f, i, 1]
                    row = int((v - np.floor(v)) * size) % size
                    column = int((u - np.floor(u)) * size) % size
                    if covers[layer, row, column] < 128:
                        continue
                inverse_depth[y, x] = inverse * gain
                faces[y, x] = f
    return edges


@numba.njit(cache=True)
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


@numba.njit(cache=True)
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
