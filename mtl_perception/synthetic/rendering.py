# SPDX-License-Identifier: Apache-2.0
"""Rendering of a triangle soup to an image with exact ground truth."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numba
import numpy as np

from mtl_perception.frame import Camera
from mtl_perception.labels import SKY_ID
from mtl_perception.synthetic.raster import Eye, rasterize
from mtl_perception.synthetic.shading import FAR_EYE, Surfaces, Surroundings, shade
from mtl_perception.synthetic.textures import SIZE, bank


class Material(NamedTuple):
    """Appearance of a surface: linear RGB, layer of the texture bank, and strengths from 0 to 1.

    ``cutout`` masks the surface with its texture, ``gloss`` reflects the sky, ``emission`` adds
    light, ``macro`` adds large stains.
    """

    color: tuple[float, float, float]
    layer: int = 0
    cutout: bool = False
    gloss: float = 0.0
    emission: float = 0.0
    macro: float = 0.0


@dataclass(frozen=True)
class Soup:
    """Triangles of a scene in world coordinates.

    Attributes:
        corners: ``(F, 3, 3)`` float32, metres.
        normals: ``(F, 3, 3)`` float32, unit vectors of the corners.
        uv: ``(F, 3, 2)`` float32, texture coordinates of the corners.
        bias: ``(F,)`` float32, positive for decals on coplanar faces.
        ground: ``(F,)`` bool, faces darkened by nearby objects.
        material_ids: ``(F,)`` int32, rows of ``materials``.
        materials: ``(M, 8)`` float32, the numbers of each ``Material``.
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
    """Pinhole camera in the world; ``rotation`` maps world axes to (right, down, forward)."""

    camera: Camera
    eye: np.ndarray
    rotation: np.ndarray


class Weather(NamedTuple):
    """Light in linear RGB and air; ``fog`` is the distance in metres at which 63 % is fog."""

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
    """Linear light ``(H, W, 3)`` float32 and ground truth ``(H, W)``; depth is in metres."""

    light: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    depth: np.ndarray


SHADOW_SIZE = 1024
SHADOW_REGION = ((-28.0, 28.0), (0.0, 75.0))
"""Area with shadows of the sun: metres to the right and in front of the camera."""

CONTACT_SIZE = (360, 240)
CONTACT_REGION = ((-20.0, 20.0), (0.0, 60.0))
CONTACT_HEIGHT = 0.6
"""Metres above the ground at which a contact shadow has faded to 37 %."""


def look(camera: Camera, position: np.ndarray, heading: float, roll: float) -> View:
    """Return the view of ``camera`` above ``position`` (x, 0, z); angles are in radians."""
    cos, sin = np.cos(heading), np.sin(heading)
    turn = np.array([[cos, 0, -sin], [0, -1, 0], [sin, 0, cos]])
    cos, sin = np.cos(camera.pitch), np.sin(camera.pitch)
    nod = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    cos, sin = np.cos(roll), np.sin(roll)
    tilt = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return View(camera, position + np.array((0, camera.height, 0)), tilt @ nod @ turn)


def render(soup: Soup, view: View, weather: Weather, height: int, width: int) -> Rendering:
    """Render a scene; the ground truth of a pixel is taken at its centre.

    Pixel centres have integer coordinates. Samples lie on the centres and corners of pixels; the
    corners only smooth the edges of the image.
    """
    camera = view.camera
    intrinsics = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    to_samples = np.array([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]]) @ intrinsics @ view.rotation
    faces = np.full((2 * height + 1, width + 1), -1, np.int32)
    edges = np.empty((len(soup.bias), 3, 3))
    _draw(soup, Eye(to_samples, view.eye), faces.shape, stride=2, faces=faces, edges=edges)
    to_world = np.linalg.inv(to_samples)
    textures = bank()
    light = shade(
        faces,
        Surfaces(
            edges,
            soup.normals,
            soup.uv,
            soup.ground,
            soup.material_ids,
            soup.materials,
            _texels_per_metre(soup.corners, soup.uv),
        ),
        Surroundings(
            to_world,
            view.eye[1],
            2 * camera.fx,
            *_seen_through(_sun_map(soup, view, weather), to_world, view.eye),
            *_seen_through(_contact_map(soup, view), to_world, view.eye),
        ),
        weather,
        textures.texels,
        textures.layers['macro'][0],
    )
    return Rendering(light, *_ground_truth(faces, edges, soup.label_ids, soup.instance_ids))


def _seen_through(
    drawn: tuple[Eye, np.ndarray], to_world: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``(3, 4)`` matrix from samples (x · Z, y · Z, Z, 1) to a map, and the map."""
    eye, values = drawn
    return np.column_stack([eye.matrix @ to_world, eye.matrix @ (position - eye.position)]), values


def _draw(
    soup: Soup,
    eye: Eye,
    shape: tuple[int, int],
    hidden: np.ndarray | None = None,
    stride: int = 1,
    faces: np.ndarray | None = None,
    edges: np.ndarray | None = None,
) -> np.ndarray:
    """Return the inverse depth of each sample; see ``rasterize`` for the arguments."""
    inverse_depth = np.zeros(shape, np.float32)
    layers = np.where(soup.materials[:, 4] > 0, soup.materials[:, 3], -1).astype(np.int32)
    rasterize(
        eye,
        soup.corners,
        soup.uv,
        layers[soup.material_ids],
        soup.bias,
        np.zeros(len(soup.bias), bool) if hidden is None else hidden,
        bank().covers,
        stride,
        inverse_depth,
        faces,
        edges,
    )
    return inverse_depth


@numba.njit(cache=True, error_model='numpy')
def _ground_truth(faces, edges, label_ids, instance_ids):
    """Return the label, instance and depth map of the samples on pixel centres."""
    height, width = faces.shape[0] // 2, faces.shape[1] - 1
    labels = np.full((height, width), SKY_ID, np.uint8)
    instances = np.full((height, width), SKY_ID, np.uint16)
    depth = np.full((height, width), np.inf, np.float32)
    for row in range(height):
        for column in range(width):
            y, x = 2 * row + 1, 2 * column + 1
            face = faces[y, column]
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
    """Return a nearly parallel projection along ``direction`` that fits a region of the ground."""
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
    """Return the projection of the sun and the inverse distance of the lit surfaces."""
    direction = -np.asarray(weather.sun_direction)
    shape = (SHADOW_SIZE, SHADOW_SIZE)
    eye = _parallel_eye(view, direction, np.array([0.0, 1, 0]), SHADOW_REGION, shape)
    if max(weather.sun) == 0:
        return eye, np.zeros((2, 2), np.float32)
    return eye, _draw(soup, eye, shape, soup.ground)


def _contact_map(soup: Soup, view: View) -> tuple[Eye, np.ndarray]:
    """Return a projection from below and the share of the sky that objects hide from the ground."""
    up, forward = np.array([0.0, 1, 0]), view.rotation[2]
    eye = _parallel_eye(view, up, -forward, CONTACT_REGION, CONTACT_SIZE)
    high = soup.corners[:, 0, 1] > 5 * CONTACT_HEIGHT
    inverse = _draw(soup, eye, CONTACT_SIZE, soup.ground | high)
    with np.errstate(divide='ignore'):
        height = 1 / inverse + eye.position[1]
    closed = np.exp(-np.maximum(height, 0) / CONTACT_HEIGHT).astype(np.float32)
    near, wide = cv2.GaussianBlur(closed, (0, 0), 1.5), cv2.GaussianBlur(closed, (0, 0), 5)
    return eye, 0.6 * near + 0.4 * wide


@numba.njit(cache=True, error_model='numpy')
def _texels_per_metre(corners, uv):
    """Return ``(F,)`` float32, the square root of texels per square metre of each face."""
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
