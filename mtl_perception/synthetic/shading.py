# SPDX-License-Identifier: Apache-2.0
"""Light of each sample: materials under sun and sky, seen through fog."""

from typing import NamedTuple

import numba
import numpy as np

from mtl_perception.synthetic.textures import LEVELS, SIZE

FAR_EYE = 2000.0
"""Metres to the eye of a nearly parallel projection, so one rasterizer serves all maps."""

SHARPNESS = 2.0**1.6
"""Largest area of a texel relative to a sample, so textures are not blurred."""


class Surfaces(NamedTuple):
    """Fields of a ``Soup`` in the form of a tuple, as numba requires.

    ``edges`` is an output of ``rasterize``; ``texels_per_metre`` is ``(F,)`` float32.
    """

    edges: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    ground: np.ndarray
    material_ids: np.ndarray
    materials: np.ndarray
    texels_per_metre: np.ndarray


class Surroundings(NamedTuple):
    """Geometry of the samples and maps of their shadows.

    Attributes:
        to_world: ``(3, 3)``, from samples (x · Z, y · Z, Z) to offsets from the camera.
        height: Height of the camera in metres.
        focal: Focal length in samples.
        sun_projection: ``(3, 4)``, from samples (x · Z, y · Z, Z, 1) to ``sun_map``.
        sun_map: ``(S, S)`` float32, inverse distance from the sun; 2 × 2 without a sun.
        contact_projection: ``(3, 4)``, from samples (x · Z, y · Z, Z, 1) to ``contact_map``.
        contact_map: ``(H, W)`` float32, share of the sky hidden from the ground.
    """

    to_world: np.ndarray
    height: float
    focal: float
    sun_projection: np.ndarray
    sun_map: np.ndarray
    contact_projection: np.ndarray
    contact_map: np.ndarray


@numba.njit(cache=True, error_model='numpy', fastmath=True)
def shade(faces, surfaces, surroundings, weather, texels, macro):
    """Return ``(H, W, 3)`` float32 linear light; pixels of several faces take five samples.

    ``faces`` is a ``(2 H + 1, W + 1)`` quincunx: even rows are corners of pixels, odd rows centres.
    """
    rows, columns = faces.shape
    samples = np.empty((rows, columns, 3), np.float32)
    for y in range(rows):
        for i in range(columns - y % 2):
            face = faces[y, i]
            if y % 2 == 1 or _is_between_faces(faces, y, i):
                x = 2 * i + y % 2
                light = _sample(x, y, face, surfaces, surroundings, weather, texels, macro)
                samples[y, i, 0], samples[y, i, 1], samples[y, i, 2] = light
    return _pixels(faces, samples)


@numba.njit(cache=True, error_model='numpy', inline='always')
def _is_between_faces(faces, y, i):
    """Return whether a pixel around a corner shows another face than the corner."""
    for row in range(abs(y - 1), min(y + 2, len(faces)), 2):
        for column in range(max(i - 1, 0), min(i + 1, faces.shape[1] - 1)):
            if faces[row, column] != faces[y, i]:
                return True
    return False


@numba.njit(cache=True, error_model='numpy', fastmath=True)
def _pixels(faces, samples):
    """Return pixels: a third of the centre and a sixth of each corner, where they differ."""
    light = np.empty((len(faces) // 2, faces.shape[1] - 1, 3), np.float32)
    for row in range(light.shape[0]):
        for column in range(light.shape[1]):
            y = 2 * row + 1
            red, green, blue = samples[y, column]
            r, g, b = 2.0 * red, 2.0 * green, 2.0 * blue
            face = faces[y, column]
            for k in range(4):
                around_y, around = y - 1 + 2 * (k // 2), column + k % 2
                if faces[around_y, around] == face:
                    r, g, b = r + red, g + green, b + blue
                else:
                    r += samples[around_y, around, 0]
                    g += samples[around_y, around, 1]
                    b += samples[around_y, around, 2]
            light[row, column, 0], light[row, column, 1], light[row, column, 2] = (
                r / 6,
                g / 6,
                b / 6,
            )
    return light


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _sample(x, y, face, surfaces, surroundings, weather, texels, macro):
    """Return the red, green and blue light of a sample."""
    to_world = surroundings.to_world
    ray_x = to_world[0, 0] * x + to_world[0, 1] * y + to_world[0, 2]
    ray_y = to_world[1, 0] * x + to_world[1, 1] * y + to_world[1, 2]
    ray_z = to_world[2, 0] * x + to_world[2, 1] * y + to_world[2, 2]
    shrink = 1.0 / np.sqrt(ray_x * ray_x + ray_y * ray_y + ray_z * ray_z)
    if face < 0:
        return _sky(ray_x * shrink, ray_y * shrink, ray_z * shrink, weather, texels)
    e = surfaces.edges
    b0 = e[face, 0, 0] * x + e[face, 0, 1] * y + e[face, 0, 2]
    b1 = e[face, 1, 0] * x + e[face, 1, 1] * y + e[face, 1, 2]
    b2 = e[face, 2, 0] * x + e[face, 2, 1] * y + e[face, 2, 2]
    depth = 1.0 / (b0 + b1 + b2)
    b0, b1, b2 = b0 * depth, b1 * depth, b2 * depth
    n = surfaces.normals
    nx = b0 * n[face, 0, 0] + b1 * n[face, 1, 0] + b2 * n[face, 2, 0]
    ny = b0 * n[face, 0, 1] + b1 * n[face, 1, 1] + b2 * n[face, 2, 1]
    nz = b0 * n[face, 0, 2] + b1 * n[face, 1, 2] + b2 * n[face, 2, 2]
    norm = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    facing = -(nx * ray_x + ny * ray_y + nz * ray_z) * norm * shrink
    if facing < 0:
        norm, facing = -norm, -facing
    nx, ny, nz = nx * norm, ny * norm, nz * norm

    materials, m = surfaces.materials, surfaces.material_ids[face]
    t = surfaces.uv
    u = b0 * t[face, 0, 0] + b1 * t[face, 1, 0] + b2 * t[face, 2, 0]
    v = b0 * t[face, 0, 1] + b1 * t[face, 1, 1] + b2 * t[face, 2, 1]
    blur = surfaces.texels_per_metre[face] * depth / surroundings.focal
    level = _level(SHARPNESS * blur * blur / max(facing, 0.05))
    red, green, blue, tint = _texel(texels, int(materials[m, 3]), u, v, level)
    stain = 1.0
    if materials[m, 7] > 0:
        noise = _gray_texel(texels, macro, u * 0.13 + 0.3, v * 0.13, max(0, level - 3))
        stain += materials[m, 7] * (noise - 0.78) * 4.0
    red *= (materials[m, 0] * tint + 1.0 - tint) * stain
    green *= (materials[m, 1] * tint + 1.0 - tint) * stain
    blue *= (materials[m, 2] * tint + 1.0 - tint) * stain

    sun, sky, air = weather.sun, weather.ambient, weather.horizon
    towards = weather.sun_direction
    lit = nx * towards[0] + ny * towards[1] + nz * towards[2]
    if materials[m, 4] > 0:
        lit = 0.35 + 0.65 * lit
    lit = max(lit, 0.0)
    if lit > 0.0 and len(surroundings.sun_map) > 2:
        lit *= _sunlit(x, y, depth, surroundings.sun_projection, surroundings.sun_map)
    open_sky = 0.55 + 0.45 * ny
    if surfaces.ground[face]:
        shut = _bilinear(x, y, depth, surroundings.contact_projection, surroundings.contact_map)
        open_sky *= 1.0 - 0.85 * shut
    else:
        open_sky *= 0.7 + 0.3 * min(1.0, (surroundings.height + depth * ray_y) * 0.7)
    shine = materials[m, 6] * 3.0
    red *= open_sky * sky[0] + lit * sun[0] + shine
    green *= open_sky * sky[1] + lit * sun[1] + shine
    blue *= open_sky * sky[2] + lit * sun[2] + shine

    gloss = materials[m, 5]
    mirror = gloss * (0.06 + 0.94 * (1.0 - facing) ** 4)
    if mirror > 0.003:
        back = 2.0 * facing
        mx, my, mz = (
            ray_x * shrink + back * nx,
            ray_y * shrink + back * ny,
            ray_z * shrink + back * nz,
        )
        mirrored = _sky(mx, max(my, 0.02), mz, weather, texels)
        mirror *= 0.25 + 0.75 * min(max(my / 0.12, 0.0), 1.0)
        glint = max(0.0, mx * towards[0] + my * towards[1] + mz * towards[2]) ** 60
        glint *= 4.0 * gloss * lit
        red += mirror * mirrored[0] + glint * sun[0]
        green += mirror * mirrored[1] + glint * sun[1]
        blue += mirror * mirrored[2] + glint * sun[2]
    fog = 1.0 - np.exp(-depth / weather.fog)
    return red + fog * (air[0] - red), green + fog * (air[1] - green), blue + fog * (air[2] - blue)


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _level(texels):
    """Return the mip level at which a sample of this area in texels covers about one texel."""
    level = 0
    while texels >= 4.0 and level < LEVELS - 1:
        texels *= 0.25
        level += 1
    return level


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _sky(x, y, z, weather, texels):
    """Return the light of the sky from a direction."""
    up = max(y, 0.0)
    high = 1.0 - np.exp(-3.5 * up)
    sun, towards = weather.sun, weather.sun_direction
    zenith, horizon = weather.zenith, weather.horizon
    glow = max(0.0, x * towards[0] + y * towards[1] + z * towards[2]) ** 24 * 0.5
    scale = 0.22 / (up + 0.12)
    cloud = _gray_texel(texels, weather.cloud_layer, x * scale, z * scale, 1)
    cloud = min(1.0, max(0.0, (cloud - 0.35) * 2.2)) * weather.cloud * min(1.0, up * 6.0)
    red = horizon[0] + high * (zenith[0] - horizon[0]) + glow * sun[0]
    green = horizon[1] + high * (zenith[1] - horizon[1]) + glow * sun[1]
    blue = horizon[2] + high * (zenith[2] - horizon[2]) + glow * sun[2]
    return (
        red + cloud * (horizon[0] * 1.05 - red),
        green + cloud * (horizon[1] * 1.05 - green),
        blue + cloud * (horizon[2] * 1.05 - blue),
    )


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _texel(texels, layer, u, v, level):
    """Return RGB and tint from 0 to 1, interpolated bilinearly in one mip level."""
    x0, x1, y0, y1, a, b, c, d = _neighbours(u, v, level)
    t, k = texels, layer
    return (
        a * t[k, y0, x0, 0] + b * t[k, y0, x1, 0] + c * t[k, y1, x0, 0] + d * t[k, y1, x1, 0],
        a * t[k, y0, x0, 1] + b * t[k, y0, x1, 1] + c * t[k, y1, x0, 1] + d * t[k, y1, x1, 1],
        a * t[k, y0, x0, 2] + b * t[k, y0, x1, 2] + c * t[k, y1, x0, 2] + d * t[k, y1, x1, 2],
        a * t[k, y0, x0, 3] + b * t[k, y0, x1, 3] + c * t[k, y1, x0, 3] + d * t[k, y1, x1, 3],
    )


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _gray_texel(texels, layer, u, v, level):
    """Return the value of a gray texture from 0 to 1."""
    x0, x1, y0, y1, a, b, c, d = _neighbours(u, v, level)
    t, k = texels, layer
    return a * t[k, y0, x0, 0] + b * t[k, y0, x1, 0] + c * t[k, y1, x0, 0] + d * t[k, y1, x1, 0]


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _neighbours(u, v, level):
    """Return columns, rows and weights / 255 of the four texels around a point."""
    size = SIZE >> level
    start = 2 * SIZE - 2 * size
    x, y = (u - np.floor(u)) * size - 0.5, (v - np.floor(v)) * size - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    x0, x1 = start + (x0 & (size - 1)), start + ((x0 + 1) & (size - 1))
    y0, y1 = y0 & (size - 1), (y0 + 1) & (size - 1)
    left, right = (1 - fx) / 255, fx / 255
    return x0, x1, y0, y1, left * (1 - fy), right * (1 - fy), left * fy, right * fy


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _project(x, y, depth, m):
    """Return the position of a sample on a map and its inverse distance in that projection."""
    inverse = 1.0 / (depth * (m[2, 0] * x + m[2, 1] * y + m[2, 2]) + m[2, 3])
    map_x = (depth * (m[0, 0] * x + m[0, 1] * y + m[0, 2]) + m[0, 3]) * inverse
    map_y = (depth * (m[1, 0] * x + m[1, 1] * y + m[1, 2]) + m[1, 3]) * inverse
    return map_x, map_y, inverse


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _sunlit(x, y, depth, projection, sun_map):
    """Return the visible share of the sun: 2 × 2 depth comparisons, weighted bilinearly."""
    map_x, map_y, inverse = _project(x, y, depth, projection)
    x0, y0 = int(np.floor(map_x)), int(np.floor(map_y))
    if x0 < 0 or y0 < 0 or x0 + 1 >= sun_map.shape[1] or y0 + 1 >= sun_map.shape[0]:
        return 1.0
    fx, fy = map_x - x0, map_y - y0
    reach = inverse * (1.0 + 0.15 / FAR_EYE)
    lit = 0.0
    if sun_map[y0, x0] <= reach:
        lit += (1 - fx) * (1 - fy)
    if sun_map[y0, x0 + 1] <= reach:
        lit += fx * (1 - fy)
    if sun_map[y0 + 1, x0] <= reach:
        lit += (1 - fx) * fy
    if sun_map[y0 + 1, x0 + 1] <= reach:
        lit += fx * fy
    return lit


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _bilinear(x, y, depth, projection, values):
    map_x, map_y, _ = _project(x, y, depth, projection)
    x0, y0 = int(np.floor(map_x)), int(np.floor(map_y))
    if x0 < 0 or y0 < 0 or x0 + 1 >= values.shape[1] or y0 + 1 >= values.shape[0]:
        return 0.0
    fx, fy = map_x - x0, map_y - y0
    top = values[y0, x0] * (1 - fx) + values[y0, x0 + 1] * fx
    return top * (1 - fy) + (values[y0 + 1, x0] * (1 - fx) + values[y0 + 1, x0 + 1] * fx) * fy
