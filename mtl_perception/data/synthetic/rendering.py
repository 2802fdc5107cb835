"""From a soup of triangles, a camera and the weather to a picture and its exact ground truth."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numba
import numpy as np

from mtl_perception.data.frame import Camera
from mtl_perception.data.synthetic.raster import Eye, rasterize
from mtl_perception.data.synthetic.textures import LEVELS, SIZE, bank
from mtl_perception.labels import SKY_ID


class Material(NamedTuple):
    """How a surface looks: linear RGB, a layer of the bank, and numbers from 0 to 1.

    ``gloss`` mirrors the sky, ``emission`` shines by itself, ``macro`` weathers with large stains.
    """

    color: tuple[float, float, float]
    layer: int = 0
    cutout: bool = False
    gloss: float = 0.0
    emission: float = 0.0
    macro: float = 0.0


@dataclass(frozen=True)
class Soup:
    """Everything that can be seen, in world coordinates.

    Attributes:
        corners, normals: ``(F, 3, 3)`` float32.
        uv: ``(F, 3, 2)`` float32.
        bias: ``(F,)`` float32, positive for decals on coplanar faces.
        ground: ``(F,)`` bool, faces that are darkened by what stands on them.
        material_ids: ``(F,)`` int32, rows of ``materials``.
        materials: ``(M, 8)`` float32, rows of ``Material``.
        label_ids: ``(F,)`` uint8.
        instance_ids: ``(F,)`` int32.
    """

    corners: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    bias: np.ndarray
    ground: np.ndarray
    material_ids: np.ndarray
    materials: np.ndarray
    label_ids: np.ndarray
    instance_ids: np.ndarray


@dataclass(frozen=True)
class View:
    """A pinhole camera in the world; ``rotation`` leads to its axes (right, down, forward)."""

    camera: Camera
    eye: np.ndarray
    rotation: np.ndarray


class Weather(NamedTuple):
    """Light and air in linear RGB; ``fog`` is the distance in metres at which 63 % is fog."""

    sun_direction: tuple[float, float, float]
    sun: tuple[float, float, float]
    ambient: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    cloud_layer: int
    cloud: float
    fog: float


@dataclass(frozen=True)
class Rendering:
    """A picture in linear light ``(H, W, 3)`` float32 and the ground truth of its pixels."""

    light: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    depth: np.ndarray


SHADOW_SIZE = 1024
SHADOW_REGION = ((-28.0, 28.0), (0.0, 75.0))
"""Metres to the right of and in front of the camera in which the sun casts shadows."""

CONTACT_SIZE = (360, 240)
CONTACT_REGION = ((-20.0, 20.0), (0.0, 60.0))
CONTACT_HEIGHT = 0.6
"""Metres above the ground at which a surface darkens the ground beneath it to 37 %."""

FAR_EYE = 2000.0
"""Metres to the eye of an all but parallel projection; one rasterizer then serves every map."""


def look(camera: Camera, position: np.ndarray, heading: float, roll: float) -> View:
    """Return the view of ``camera`` above ``position`` (x, 0, z), turned right by ``heading``."""
    cos, sin = np.cos(heading), np.sin(heading)
    turn = np.array([[cos, 0, -sin], [0, -1, 0], [sin, 0, cos]])
    cos, sin = np.cos(camera.pitch), np.sin(camera.pitch)
    nod = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    cos, sin = np.cos(roll), np.sin(roll)
    tilt = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return View(camera, position + np.array((0, camera.height, 0)), tilt @ nod @ turn)


def render(soup: Soup, view: View, weather: Weather, height: int, width: int) -> Rendering:
    """Draw the soup; label, instance and depth are those of the surface at each pixel's centre.

    Pixel centres have whole coordinates. Samples lie half a pixel apart, every second one on a
    pixel's centre; those between only smooth the picture's edges.
    """
    camera = view.camera
    intrinsics = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    to_samples = np.array([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]]) @ intrinsics @ view.rotation
    _, faces, edges = _draw(soup, Eye(to_samples, view.eye), (2 * height + 1, 2 * width + 1))
    sun_eye, sun_map = _sun_map(soup, view, weather)
    contact_eye, contact_map = _contact_map(soup, view)
    textures = bank()
    light = _shade(
        faces,
        edges,
        _Surfaces(
            soup.normals,
            soup.uv,
            soup.ground,
            soup.material_ids,
            soup.materials,
            _texels_per_metre(soup.corners, soup.uv),
        ),
        textures.texels,
        textures.layers['macro'][0],
        view.eye,
        np.linalg.inv(to_samples),
        2 * camera.fx,
        weather,
        sun_eye,
        sun_map,
        contact_eye,
        contact_map,
    )
    return Rendering(light, *_ground_truth(faces, edges, soup.label_ids, soup.instance_ids))


class _Surfaces(NamedTuple):
    """What shading needs of a ``Soup``, as a tuple that compiled code can take."""

    normals: np.ndarray
    uv: np.ndarray
    ground: np.ndarray
    material_ids: np.ndarray
    materials: np.ndarray
    texels_per_metre: np.ndarray


def _draw(
    soup: Soup, eye: Eye, shape: tuple[int, int], hidden: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the inverse depth, the nearest face of every sample and all faces' edges."""
    inverse_depth = np.zeros(shape, np.float32)
    faces = np.full(shape, -1, np.int32)
    layers = np.where(soup.materials[:, 4] > 0, soup.materials[:, 3], -1).astype(np.int32)
    edges = rasterize(
        eye,
        soup.corners,
        soup.uv,
        layers[soup.material_ids],
        soup.bias,
        np.zeros(len(soup.bias), bool) if hidden is None else hidden,
        bank().covers,
        inverse_depth,
        faces,
    )
    return inverse_depth, faces, edges


@numba.njit(cache=True, error_model='numpy')
def _ground_truth(faces, edges, label_ids, instance_ids):
    """Return label, instance and depth maps of the samples on the pixels' centres."""
    height, width = faces.shape[0] // 2, faces.shape[1] // 2
    labels = np.full((height, width), SKY_ID, np.uint8)
    instances = np.full((height, width), SKY_ID, np.int32)
    depth = np.full((height, width), np.inf, np.float32)
    for row in range(height):
        for column in range(width):
            y, x = 2 * row + 1, 2 * column + 1
            face = faces[y, x]
            if face < 0:
                continue
            labels[row, column] = label_ids[face]
            instances[row, column] = instance_ids[face]
            inverse = 0.0
            for i in range(3):
                inverse += edges[face, i, 0] * x + edges[face, i, 1] * y + edges[face, i, 2]
            depth[row, column] = 1.0 / inverse
    return labels, instances, depth


def _parallel_eye(
    view: View,
    direction: np.ndarray,
    up: np.ndarray,
    region: tuple[tuple[float, float], tuple[float, float]],
    shape: tuple[int, int],
) -> Eye:
    """Return an all but parallel projection along ``direction`` that fits a ground region."""
    right = np.cross(up, direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(direction, right), direction])
    forward = view.rotation[2] * [1, 0, 1] / np.linalg.norm(view.rotation[2] * [1, 0, 1])
    sideways = np.array([forward[2], 0, -forward[0]])
    ground = view.eye * [1, 0, 1]
    corners = np.array([ground + x * sideways + z * forward for x in region[0] for z in region[1]])
    projected = corners @ axes.T
    low, high = projected.min(0), projected.max(0)
    centre = (low + high) / 2
    position = axes.T @ centre - FAR_EYE * direction
    zoom = FAR_EYE * (np.array(shape[::-1]) - 1) / (high - low)[:2]
    middle = (np.array(shape[::-1]) - 1) / 2
    lens = np.array([[zoom[0], 0, middle[0]], [0, zoom[1], middle[1]], [0, 0, 1]])
    return Eye(lens @ axes, position)


def _sun_map(soup: Soup, view: View, weather: Weather) -> tuple[Eye, np.ndarray]:
    """Return the sun's projection and the inverse distance of the first surface it meets."""
    direction = -np.asarray(weather.sun_direction)
    shape = (SHADOW_SIZE, SHADOW_SIZE)
    eye = _parallel_eye(view, direction, np.array([0.0, 1, 0]), SHADOW_REGION, shape)
    if max(weather.sun) == 0:
        return eye, np.zeros((2, 2), np.float32)
    return eye, _draw(soup, eye, shape, soup.ground)[0]


def _contact_map(soup: Soup, view: View) -> tuple[Eye, np.ndarray]:
    """Return a projection from beneath, and how far things on the ground shut out the sky."""
    up, forward = np.array([0.0, 1, 0]), view.rotation[2]
    eye = _parallel_eye(view, up, -forward, CONTACT_REGION, CONTACT_SIZE)
    high = soup.corners[:, 0, 1] > 5 * CONTACT_HEIGHT
    inverse, _, _ = _draw(soup, eye, CONTACT_SIZE, soup.ground | high)
    with np.errstate(divide='ignore'):
        height = 1 / inverse + eye.position[1]
    closed = np.exp(-np.maximum(height, 0) / CONTACT_HEIGHT).astype(np.float32)
    near, wide = cv2.GaussianBlur(closed, (0, 0), 1.5), cv2.GaussianBlur(closed, (0, 0), 5)
    return eye, 0.6 * near + 0.4 * wide


@numba.njit(cache=True, error_model='numpy', fastmath=True)
def _shade(
    faces,
    edges,
    surfaces,
    texels,
    macro,
    position,
    to_world,
    focal,
    weather,
    sun_eye,
    sun_map,
    contact_eye,
    contact_map,
):
    """Return ``(H, W, 3)`` float32 linear light; five samples where a pixel sees several faces."""
    height, width = faces.shape[0] // 2, faces.shape[1] // 2
    light = np.zeros((height, width, 3), np.float32)
    color, centre = np.zeros(3), np.zeros(3)
    for row in range(height):
        for column in range(width):
            y, x = 2 * row + 1, 2 * column + 1
            face = faces[y, x]
            edge = (
                faces[y - 1, x - 1] != face
                or faces[y - 1, x + 1] != face
                or faces[y + 1, x - 1] != face
                or faces[y + 1, x + 1] != face
            )
            for k in range(5 if edge else 1):
                dx = 0 if k == 0 else 2 * (k % 2) - 1
                dy = 0 if k == 0 else 2 * (k // 3) - 1
                around = faces[y + dy, x + dx]
                if k == 0 or around != face:
                    _sample(
                        x + dx,
                        y + dy,
                        around,
                        edges,
                        surfaces,
                        texels,
                        macro,
                        position,
                        to_world,
                        focal,
                        weather,
                        sun_eye,
                        sun_map,
                        contact_eye,
                        contact_map,
                        color,
                    )
                if k == 0:
                    centre[:] = color
                weight = 1.0 if not edge else (1 / 3 if k == 0 else 1 / 6)
                for i in range(3):
                    seen = color[i] if around != face else centre[i]
                    light[row, column, i] += weight * seen
    return light


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _sample(
    x,
    y,
    face,
    edges,
    surfaces,
    texels,
    macro,
    position,
    to_world,
    focal,
    weather,
    sun_eye,
    sun_map,
    contact_eye,
    contact_map,
    color,
):
    """Write the light that comes from one sample to ``color``."""
    ray_x = to_world[0, 0] * x + to_world[0, 1] * y + to_world[0, 2]
    ray_y = to_world[1, 0] * x + to_world[1, 1] * y + to_world[1, 2]
    ray_z = to_world[2, 0] * x + to_world[2, 1] * y + to_world[2, 2]
    length = np.sqrt(ray_x * ray_x + ray_y * ray_y + ray_z * ray_z)
    if face < 0:
        _sky(ray_x / length, ray_y / length, ray_z / length, texels, weather, color)
        return
    b0 = edges[face, 0, 0] * x + edges[face, 0, 1] * y + edges[face, 0, 2]
    b1 = edges[face, 1, 0] * x + edges[face, 1, 1] * y + edges[face, 1, 2]
    b2 = edges[face, 2, 0] * x + edges[face, 2, 1] * y + edges[face, 2, 2]
    depth = 1.0 / (b0 + b1 + b2)
    b0, b1, b2 = b0 * depth, b1 * depth, b2 * depth
    n = surfaces.normals
    nx = b0 * n[face, 0, 0] + b1 * n[face, 1, 0] + b2 * n[face, 2, 0]
    ny = b0 * n[face, 0, 1] + b1 * n[face, 1, 1] + b2 * n[face, 2, 1]
    nz = b0 * n[face, 0, 2] + b1 * n[face, 1, 2] + b2 * n[face, 2, 2]
    norm = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    facing = -(nx * ray_x + ny * ray_y + nz * ray_z) * norm / length
    if facing < 0:
        norm, facing = -norm, -facing
    nx, ny, nz = nx * norm, ny * norm, nz * norm
    px, py, pz = (
        position[0] + depth * ray_x,
        position[1] + depth * ray_y,
        position[2] + depth * ray_z,
    )

    materials, m = surfaces.materials, surfaces.material_ids[face]
    t = surfaces.uv
    u = b0 * t[face, 0, 0] + b1 * t[face, 1, 0] + b2 * t[face, 2, 0]
    v = b0 * t[face, 0, 1] + b1 * t[face, 1, 1] + b2 * t[face, 2, 1]
    blur = surfaces.texels_per_metre[face] * depth / (focal * np.sqrt(max(facing, 0.05)))
    level = int(min(max(np.log2(max(blur, 1e-6)) + 0.8, 0.0), LEVELS - 1.0))
    red, green, blue, tint = _texel(texels, int(materials[m, 3]), u, v, level)
    stain = 1.0
    if materials[m, 7] > 0:
        noise, _, _, _ = _texel(texels, macro, u * 0.13 + 0.3, v * 0.13, max(0, level - 3))
        stain += materials[m, 7] * (noise - 0.78) * 4.0
    albedo_r = red * (materials[m, 0] * tint + 1.0 - tint) * stain
    albedo_g = green * (materials[m, 1] * tint + 1.0 - tint) * stain
    albedo_b = blue * (materials[m, 2] * tint + 1.0 - tint) * stain

    sun = weather.sun_direction
    toward = nx * sun[0] + ny * sun[1] + nz * sun[2]
    if materials[m, 4] > 0:
        toward = 0.35 + 0.65 * toward
    lit = max(toward, 0.0)
    if lit > 0.0 and len(sun_map) > 2:
        lit *= _sunlit(px, py, pz, sun_eye, sun_map)
    open_sky = 0.55 + 0.45 * ny
    if surfaces.ground[face]:
        open_sky *= 1.0 - 0.85 * _bilinear(contact_map, px, py, pz, contact_eye)
    else:
        open_sky *= 0.7 + 0.3 * min(1.0, py * 0.7)
    shine = materials[m, 6] * 3.0
    fog = 1.0 - np.exp(-depth / weather.fog)

    gloss = materials[m, 5]
    mirror = gloss * (0.06 + 0.94 * (1.0 - facing) ** 4)
    if mirror > 0.003:
        back = 2.0 * facing * length
        mx, my, mz = (
            (ray_x + back * nx) / length,
            (ray_y + back * ny) / length,
            (ray_z + back * nz) / length,
        )
        _sky(mx, max(my, 0.02), mz, texels, weather, color)
        if my < 0.12:
            dim = 0.25 + 0.75 * max(0.0, my / 0.12)
            color[0], color[1], color[2] = color[0] * dim, color[1] * dim, color[2] * dim
        glint = max(0.0, mx * sun[0] + my * sun[1] + mz * sun[2]) ** 60 * 4.0 * lit
    else:
        color[:] = 0.0
        glint = 0.0
    for i in range(3):
        albedo = albedo_r if i == 0 else (albedo_g if i == 1 else albedo_b)
        surface = albedo * (open_sky * weather.ambient[i] + lit * weather.sun[i] + shine)
        surface += mirror * color[i] + gloss * glint * weather.sun[i]
        color[i] = surface + fog * (weather.horizon[i] - surface)


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _sky(x, y, z, texels, weather, color):
    """Write the sky's light from a direction to ``color``."""
    up = max(y, 0.0)
    high = 1.0 - np.exp(-3.5 * up)
    sun = weather.sun_direction
    glow = max(0.0, x * sun[0] + y * sun[1] + z * sun[2]) ** 24 * 0.5
    scale = 0.22 / (up + 0.12)
    cloud, _, _, _ = _texel(texels, weather.cloud_layer, x * scale, z * scale, 1)
    cloud = min(1.0, max(0.0, (cloud - 0.35) * 2.2)) * weather.cloud * min(1.0, up * 6.0)
    for i in range(3):
        clear = weather.horizon[i] + high * (weather.zenith[i] - weather.horizon[i])
        clear += glow * weather.sun[i]
        color[i] = clear + cloud * (weather.horizon[i] * 1.05 - clear)


@numba.njit(cache=True, error_model='numpy')
def _texels_per_metre(corners, uv):
    """Return ``(F,)``, the square root of each face's area in texels over its area in metres."""
    result = np.empty(len(uv), np.float32)
    for f in range(len(uv)):
        c, t = corners[f], uv[f]
        ax, ay, az = c[1, 0] - c[0, 0], c[1, 1] - c[0, 1], c[1, 2] - c[0, 2]
        bx, by, bz = c[2, 0] - c[0, 0], c[2, 1] - c[0, 1], c[2, 2] - c[0, 2]
        x, y, z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        du, dv = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1]
        texture = abs(du * (t[2, 1] - t[0, 1]) - dv * (t[2, 0] - t[0, 0]))
        result[f] = SIZE * np.sqrt(texture / max(np.sqrt(x * x + y * y + z * z), 1e-9))
    return result


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _texel(texels, layer, u, v, level):
    """Return RGB and tint from 0 to 1, bilinear within one mip level."""
    size = SIZE >> level
    start = 2 * SIZE - 2 * size
    x, y = (u - np.floor(u)) * size - 0.5, (v - np.floor(v)) * size - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - x0, y - y0
    x0, x1 = start + (x0 & (size - 1)), start + ((x0 + 1) & (size - 1))
    y0, y1 = y0 & (size - 1), (y0 + 1) & (size - 1)
    w00, w01 = (1 - fx) * (1 - fy) / 255.0, fx * (1 - fy) / 255.0
    w10, w11 = (1 - fx) * fy / 255.0, fx * fy / 255.0
    t = texels[layer]
    return (
        w00 * t[y0, x0, 0] + w01 * t[y0, x1, 0] + w10 * t[y1, x0, 0] + w11 * t[y1, x1, 0],
        w00 * t[y0, x0, 1] + w01 * t[y0, x1, 1] + w10 * t[y1, x0, 1] + w11 * t[y1, x1, 1],
        w00 * t[y0, x0, 2] + w01 * t[y0, x1, 2] + w10 * t[y1, x0, 2] + w11 * t[y1, x1, 2],
        w00 * t[y0, x0, 3] + w01 * t[y0, x1, 3] + w10 * t[y1, x0, 3] + w11 * t[y1, x1, 3],
    )


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _project(px, py, pz, eye):
    dx, dy, dz = px - eye.position[0], py - eye.position[1], pz - eye.position[2]
    m = eye.matrix
    inverse = 1.0 / (m[2, 0] * dx + m[2, 1] * dy + m[2, 2] * dz)
    x = (m[0, 0] * dx + m[0, 1] * dy + m[0, 2] * dz) * inverse
    y = (m[1, 0] * dx + m[1, 1] * dy + m[1, 2] * dz) * inverse
    return x, y, inverse


@numba.njit(cache=True, error_model='numpy', fastmath=True, inline='always')
def _sunlit(px, py, pz, eye, sun_map):
    """Return how much of the sun reaches a point: 2x2 depth comparisons, weighted bilinearly."""
    x, y, inverse = _project(px, py, pz, eye)
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    if x0 < 0 or y0 < 0 or x0 + 1 >= sun_map.shape[1] or y0 + 1 >= sun_map.shape[0]:
        return 1.0
    fx, fy = x - x0, y - y0
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
def _bilinear(values, px, py, pz, eye):
    x, y, _ = _project(px, py, pz, eye)
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    if x0 < 0 or y0 < 0 or x0 + 1 >= values.shape[1] or y0 + 1 >= values.shape[0]:
        return 0.0
    fx, fy = x - x0, y - y0
    top = values[y0, x0] * (1 - fx) + values[y0, x0 + 1] * fx
    return top * (1 - fy) + (values[y0 + 1, x0] * (1 - fx) + values[y0 + 1, x0 + 1] * fx) * fy
