# SPDX-License-Identifier: Apache-2.0
"""Synthetic streets with exact ground truth: image, labels and depth from one geometry.

The stations are a random layout (``layout``) of templates (``vehicles``, ``people``,
``surroundings``) in random materials (``paint``), a z-buffer (``raster``, ``rendering``), light
(``shading``) and a random camera (``lens``). All textures and models are procedural.
"""

from collections.abc import Iterable, Iterator
from random import Random

import numpy as np

from mtl_perception.frame import Camera, Frame
from mtl_perception.labels import ids
from mtl_perception.synthetic.layout import lay_out
from mtl_perception.synthetic.lens import Lens, weather
from mtl_perception.synthetic.rendering import View, Weather, look, render
from mtl_perception.synthetic.things import Thing, soup

FRAME_SECONDS = 1 / 30
"""Seconds between the frames of a drive."""

CLEARANCE = 1.5
"""Metres around the camera in which no object is rendered."""

(EGO_VEHICLE_ID,) = ids('ego vehicle')


def frame_name(seed: int, index: int) -> str:
    """Return the name of a frame in the form of Cityscapes, ``CITY_SEQUENCE_FRAME``."""
    return f'synthetic_{seed:06d}_{index:06d}'


def synthetic_frame(seed: int, index: int, *, height: int = 256, width: int = 512) -> Frame:
    """Render one frame with labels, instances, depth and camera.

    Equal arguments give equal bytes. Pixel centres have integer coordinates. Depth is in metres,
    infinite in the sky and NaN on the bonnet of the camera's own vehicle.

    Args:
        seed: Seed of the set of streets.
        index: Number of the street in its set; every number has a street of its own.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    random = Random(f'{seed} {index}')
    shot = _Shot(random, height, width, travel=0.0, duration=0.0)
    return shot.frame(seed, index, 0.0)


def synthetic_drive(
    seed: int, frames: int, *, height: int = 256, width: int = 512
) -> Iterator[Frame]:
    """Yield consecutive frames of a drive along one street, ``FRAME_SECONDS`` apart.

    An object keeps its instance ID in all frames. Each seed has a street of its own, different
    from the streets of ``synthetic_frame``.
    """
    random = Random(f'drive {seed}')
    duration = frames * FRAME_SECONDS
    shot = _Shot(random, height, width, travel=duration * 9.0, duration=duration)
    for index in range(frames):
        yield shot.frame(seed, index, index * FRAME_SECONDS)


class _Shot:
    """Street, weather and camera of a frame or a drive."""

    def __init__(
        self, random: Random, height: int, width: int, travel: float, duration: float
    ) -> None:
        self.height, self.width = height, width
        self.weather: Weather = weather(random)
        self.lens = Lens(random)
        self.camera = _camera(random, height, width)
        self.roll = random.gauss(0, 0.008)
        self.yaw = random.gauss(0, 0.06) if random.random() < 0.85 else random.uniform(-0.5, 0.5)
        self.street = lay_out(random, travel, duration)
        drift = random.gauss(0, 0.4)
        sidewalk = random.random() < 0.08
        edge = self.street.half_width + 0.6
        side = 1 if self.street.lane > 0 else -1
        self.right = side * edge if sidewalk else self.street.lane + drift

    def frame(self, seed: int, index: int, time: float) -> Frame:
        view = self._view(time)
        shown = _relevant(self.street.things(time), view, self.camera.cx / self.camera.fx)
        picture = render(soup(shown), view, self.weather, self.height, self.width)
        labels, instances, depth = picture.labels, picture.instances, picture.depth
        bonnet = self.lens.bonnet_mask(self.height, self.width)
        if bonnet is not None:
            labels[bonnet] = instances[bonnet] = EGO_VEHICLE_ID
            depth[bonnet] = np.nan
        image = self.lens.picture(picture.light, bonnet, np.random.default_rng([seed, index]))
        return Frame(frame_name(seed, index), image, labels, instances, depth, self.camera)

    def _view(self, time: float) -> View:
        x, z, heading = self.street.road.at(self.street.cruise * time, self.right)
        return look(self.camera, np.array([x, 0.0, z]), heading + self.yaw, self.roll)


def _camera(random: Random, height: int, width: int) -> Camera:
    # The ranges include the cameras of Cityscapes, KITTI, CamVid and phones.
    focal = height * random.choice((random.uniform(1.0, 1.7), random.uniform(1.5, 2.6)))
    return Camera(
        fx=focal,
        fy=focal,
        cx=(width - 1) / 2 + width * random.gauss(0, 0.01),
        cy=(height - 1) / 2 + height * random.gauss(0, 0.02),
        height=random.uniform(1.1, 2.2),
        pitch=random.gauss(0.03, 0.04),
    )


def _relevant(things: Iterable[Thing], view: View, slope: float) -> Iterator[Thing]:
    """Yield the things that can be visible or cast a visible shadow."""
    (right_x, right_y, right_z), _, (forward_x, forward_y, forward_z) = view.rotation.tolist()
    eye_x, eye_y, eye_z = view.eye.tolist()
    for thing in things:
        if thing.ground:
            yield thing
            continue
        x, y, z = thing.position
        x, y, z = x - eye_x, y - eye_y, z - eye_z
        ahead = forward_x * x + forward_y * y + forward_z * z
        aside = abs(right_x * x + right_y * y + right_z * z)
        if abs(ahead) < CLEARANCE and aside < CLEARANCE:
            continue
        if -20 < ahead < 260 and aside < max(ahead, 0) * slope * 1.15 + 30:
            yield thing
