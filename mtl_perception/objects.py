"""What is known of each instance of a prediction."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mtl_perception.labels import INSTANCE_ID_BASE, LABELS

if TYPE_CHECKING:
    from mtl_perception.prediction import Prediction


@dataclass(frozen=True)
class InstanceSummary:
    """One predicted instance.

    Attributes:
        id: ``label · 1000 + k``.
        name: of its class.
        score: how sure its class is, 0 to 1; ``None`` if not known.
        distance: median depth of its pixels in metres, +Inf too far to tell; ``None`` if not known.
        center: (x, y), the mean of its pixels, as shares of the image's width and height.
        area: its pixels as a share of the image.
    """

    id: int
    name: str
    score: float | None
    distance: float | None
    center: tuple[float, float]
    area: float


def summarize_instances(prediction: 'Prediction') -> list[InstanceSummary]:
    """Return what is known of each predicted instance, by rising ID."""
    if prediction.instances is None:
        return []
    height, width = prediction.instances.shape
    ids = prediction.instances.ravel()
    pixels = np.nonzero(ids >= INSTANCE_ID_BASE)[0]
    pixels = pixels[np.argsort(ids[pixels], kind='stable')]
    found, starts = np.unique(ids[pixels], return_index=True)
    summaries = []
    for instance_id, members in zip(found.tolist(), np.split(pixels, starts[1:]), strict=False):
        y, x = np.divmod(members, width)
        summaries.append(
            InstanceSummary(
                id=instance_id,
                name=LABELS[instance_id // INSTANCE_ID_BASE].name,
                score=prediction.scores.get(instance_id),
                distance=_median_depth(prediction, members),
                center=((x.mean() + 0.5) / width, (y.mean() + 0.5) / height),
                area=members.size / ids.size,
            )
        )
    return summaries


def _median_depth(prediction: 'Prediction', members: np.ndarray) -> float | None:
    if prediction.depth is None:
        return None
    depth = prediction.depth.ravel()[members]
    depth = depth[~np.isnan(depth)]
    return float(np.median(depth)) if depth.size else None
