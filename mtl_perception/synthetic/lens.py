# SPDX-License-Identifier: Apache-2.0
"""Camera image from linear light: exposure, blur, noise and compression."""

from random import Random
from typing import NamedTuple

import cv2
import numpy as np

from mtl_perception.synthetic.paint import CAR_COLORS, linear
from mtl_perception.synthetic.rendering import Weather
from mtl_perception.synthetic.textures import bank


class _Sky(NamedTuple):
    """Relative frequency of a kind of weather and scales of its random quantities."""

    weight: int
    sun: float
    blue: float
    brightness: float
    fog: float


_SKIES = {
    'sunny': _Sky(weight=5, sun=2.6, blue=1.0, brightness=1.7, fog=1200),
    'hazy': _Sky(weight=3, sun=1.2, blue=0.5, brightness=2.4, fog=400),
    'overcast': _Sky(weight=4, sun=0.0, blue=0.12, brightness=2.2, fog=800),
    'dull': _Sky(weight=1, sun=0.0, blue=0.12, brightness=1.1, fog=350),
}


def weather(random: Random) -> Weather:
    """Return random light and air."""
    sky = random.choices(list(_SKIES.values()), [sky.weight for sky in _SKIES.values()])[0]
    elevation = np.radians(random.uniform(14, 70))
    azimuth = random.uniform(0, 2 * np.pi)
    direction = (
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.sin(elevation)),
        float(np.cos(elevation) * np.cos(azimuth)),
    )
    low = float(np.clip((0.9 - elevation) / 0.7, 0, 1))
    blue = sky.blue * random.uniform(0.6, 1.2)
    bright = sky.brightness * random.uniform(0.8, 1.4)
    fog = sky.fog * random.uniform(0.5, 2.5)
    return Weather(
        sun_direction=direction,
        sun=(sky.sun, sky.sun * (0.94 - 0.12 * low), sky.sun * (0.86 - 0.3 * low)),
        ambient=(1.0 - 0.16 * blue, 1.0, 1.0 + 0.24 * blue),
        zenith=(
            bright * (0.72 - 0.5 * blue),
            bright * (0.78 - 0.34 * blue),
            bright * (0.9 + 0.05 * blue),
        ),
        horizon=(bright * (0.96 - 0.1 * blue), bright * 0.98, bright * (1 + 0.06 * blue)),
        cloud_layer=bank().pick(random, 'clouds'),
        cloud=random.choice((0.0, random.uniform(0.2, 1.0), random.uniform(0.2, 1.0))),
        fog=fog,
    )


class Lens:
    """Random image characteristics of a camera, constant during a drive."""

    def __init__(self, random: Random) -> None:
        self.exposure = float(np.clip(random.gauss(0.2, 0.06), 0.08, 0.36))
        self.gamma = random.uniform(0.9, 1.4)
        cast = random.gauss(0, 0.06)
        self.balance = np.array([1 + cast, 1 + random.gauss(0, 0.015), 1 - cast], np.float32)
        self.saturation = random.uniform(0.65, 1.25)
        self.vignette = random.choice((0.0, random.uniform(0, 0.45)))
        self.defocus = random.choice((0.0, random.uniform(0.3, 0.9)))
        self.motion = random.choice((0, 0, 0, random.choice((3, 5))))
        self.sharpen = random.choice((0.0, 0.0, random.uniform(0.2, 0.9)))
        self.noise = random.choice((0.6, random.uniform(0.5, 2.5), random.uniform(1, 6)))
        self.quality = random.choice((0, 0, random.randint(35, 92)))
        self.bonnet = random.random() < 0.18
        self.bonnet_color = linear(random.choice(CAR_COLORS))
        self.bonnet_height = random.uniform(0.06, 0.2)
        self.bonnet_middle = random.uniform(0.35, 0.65)

    def bonnet_mask(self, height: int, width: int) -> np.ndarray | None:
        """Return the ``(H, W)`` bool mask of the camera's own bonnet, ``None`` without one."""
        if not self.bonnet:
            return None
        x = (np.arange(width) / width - self.bonnet_middle) / 0.62
        top = height * (1 - self.bonnet_height * np.sqrt(np.clip(1 - x**2, 0, 1)))
        return np.arange(height)[:, None] >= top[None]

    def picture(
        self, light: np.ndarray, bonnet: np.ndarray | None, rng: np.random.Generator
    ) -> np.ndarray:
        """Return ``(H, W, 3)`` uint8 RGB from ``(H, W, 3)`` linear light, which is overwritten."""
        height, width = light.shape[:2]
        if bonnet is not None:
            light[bonnet] = self._bonnet_light(light, bonnet)
        metered = light[height // 4 :: 4, ::4].mean(axis=2)
        gain = self.exposure / (np.exp(np.log(metered + 1e-3).mean()) + 1e-6)
        light *= self.balance * np.float32(gain)
        if self.vignette:
            y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            light *= (1 - self.vignette * (x**2 + y**2) / 2).astype(np.float32)[..., None]
        np.maximum(light, 0, out=light)
        light /= 1 + 0.18 * light
        cv2.pow(light, self.gamma / 2.2, light)
        gray = np.full((3, 3), (1 - self.saturation) / 3, np.float32)
        cv2.transform(light, gray + self.saturation * np.eye(3, dtype=np.float32), light)
        if self.defocus:
            light = cv2.GaussianBlur(light, (0, 0), self.defocus * height / 256)
        if self.motion:
            light = cv2.blur(light, (self.motion, 1))
        if self.sharpen:
            light += self.sharpen * (light - cv2.GaussianBlur(light, (0, 0), 1.0))
        light *= 255
        light += rng.standard_normal(light.shape, np.float32) * self.noise
        image = cv2.convertScaleAbs(np.maximum(light, 0))
        if self.quality:
            _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
        return image

    def _bonnet_light(self, light: np.ndarray, bonnet: np.ndarray) -> np.ndarray:
        """Return the light of a curved bonnet, which reflects the scene upside down."""
        height = light.shape[0]
        rows, columns = np.nonzero(bonnet)
        first = rows.min()
        mirrored = np.clip(first - 2 * (rows - first) - 4, 0, height - 1)
        return np.array(self.bonnet_color, np.float32) * 0.9 + 0.3 * light[mirrored, columns]
