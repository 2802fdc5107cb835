# SPDX-License-Identifier: Apache-2.0
"""Predictions from images: preprocessing, one forward pass, postprocessing."""

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl_perception.frame import CITYSCAPES_FOCAL_RATIO
from mtl_perception.inference.runtimes import create_runtime
from mtl_perception.network.checkpoint import CheckpointError, load_checkpoint
from mtl_perception.network.fused import map_names
from mtl_perception.prediction import NetworkMaps, Prediction
from mtl_perception.resources import EMBEDDED_CHECKPOINTS, checkpoint_path
from mtl_perception.tasks import TASKS
from mtl_perception.tasks.depth import decode as decode_depth
from mtl_perception.tasks.instance import GroupingParameters, group_instances
from mtl_perception.tasks.optics import compile_optics


class Predictor:
    """Semantic labels, instances and metric depth of RGB images.

    ``predict`` returns a ``Prediction``: label IDs with their confidence, instance IDs with their
    scores, and depth in metres, as NumPy arrays of one size. The maps have half the size of the
    network's input, which keeps the aspect ratio of the image; with the embedded checkpoints they
    have 128 rows. ``Prediction.resized`` brings them to the size of the image, and
    ``Prediction.objects`` lists the instances with their boxes and distances.

    Depth is proportional to the focal length, which is a property of the camera and cannot be seen
    in the image. Without one, the vertical field of view of Cityscapes' camera (25.5°) is assumed,
    and depth is wrong by the ratio of the two focal lengths. Images should be rectified.

    An image of another size than the last one takes longer, as the network is compiled for it.

    One thread may call ``infer`` while another calls ``postprocess`` for the image before; neither
    method may run in two threads at once. ``grouping`` and ``max_depth`` may be replaced at any
    time, and apply to later calls. A ``with`` block, or ``close``, releases the network.

    Args:
        checkpoint: ``.safetensors`` file of this package, or name of an embedded checkpoint.
        device: auto, cpu, cuda or cuda:N; auto is a GPU if PyTorch can use one, else the CPU.
        runtime: auto, torch, cuda_graph or openvino; auto is the fastest on the device.
        max_depth: Metres beyond which depth is +Inf.
        grouping: Parameters that group votes into instances.
        needs: Tasks that the network must have; semantic labels are always needed.

    Attributes:
        info: Metadata of the checkpoint: network, input height, data, terms, metrics and recipe.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        CheckpointError: The checkpoint cannot be used, or lacks a task.
        ValueError: The device or runtime is unknown or absent, or ``needs`` has an unknown task.

    Examples:
        >>> import numpy as np
        >>> from mtl_perception import Predictor
        >>> image = np.zeros((480, 640, 3), np.uint8)  # RGB
        >>> with Predictor() as predictor:
        ...     prediction = predictor.predict(image, focal_length=525.0)
        >>> prediction.labels.shape, prediction.depth.dtype
        ((128, 176), dtype('float32'))
        >>> prediction.resized(480, 640).instances.shape
        (480, 640)
    """

    def __init__(
        self,
        checkpoint: str | Path = EMBEDDED_CHECKPOINTS[0],
        *,
        device: str = 'auto',
        runtime: str = 'auto',
        max_depth: float = 100.0,
        grouping: GroupingParameters = GroupingParameters(),  # noqa: B008 (frozen)
        needs: Collection[str] = (),
    ) -> None:
        if unknown := sorted({*needs} - {*TASKS}):
            msg = f'unknown tasks {", ".join(unknown)}; choose from {", ".join(TASKS)}'
            raise ValueError(msg)
        network, self.info = load_checkpoint(checkpoint_path(checkpoint))
        needed = [task for task in TASKS if task in {'semantic', *needs}]
        if missing := [task for task in needed if task not in self.tasks]:
            msg = (
                f'{checkpoint}: the network lacks {", ".join(missing)}: its tasks are '
                f'{", ".join(self.tasks)}; use a checkpoint with {", ".join(needed)}'
            )
            raise CheckpointError(msg)
        self._runtime = create_runtime(runtime, network, device, self.info.input_height)
        self._is_closed = False
        self._image_size: tuple[int, ...] = ()
        if 'instance' in self.tasks:
            compile_optics()  # the first image must not wait for it
        self.max_depth = max_depth
        self.grouping = grouping

    def __enter__(self) -> 'Predictor':
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def tasks(self) -> Sequence[str]:
        """Tasks of the network: semantic and, optionally, instance and depth."""
        return self.info.network.tasks

    @property
    def description(self) -> str:
        """Network, runtime, device, training data and terms of use, in one line."""
        network = self.info.network
        parts = (
            f'{network.encoder}, stride {network.stride}',
            network.context != 'none' and f'context {network.context}',
            set(self.tasks) != set(TASKS) and f'tasks {", ".join(self.tasks)}',
            f'runtime {self._runtime.name} on {self._runtime.device}',
            self.info.data and f'trained on {self.info.data}',
            self.info.terms,
        )
        return '; '.join(part for part in parts if part)

    def predict(
        self,
        image: np.ndarray,
        focal_length: float | None = None,
        *,
        instances: bool = True,
        depth: bool = True,
    ) -> Prediction:
        """Return the maps of ``image``: ``infer`` followed by ``postprocess``.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            focal_length: Vertical focal length in pixels of ``image``; Cityscapes' field of view
                where unknown.
            instances: Whether to group votes into instances.
            depth: Whether to decode depth.

        Raises:
            ValueError: The focal length is not positive; see also ``infer``.

        Examples:
            >>> import numpy as np
            >>> from mtl_perception import Predictor
            >>> with Predictor() as predictor:
            ...     image = np.zeros((240, 320, 3), np.uint8)
            ...     prediction = predictor.predict(image, focal_length=262.5, instances=False)
            >>> prediction.instances is None, prediction.depth.shape
            (True, (128, 176))
        """
        if focal_length is not None and not 0 < focal_length < math.inf:
            msg = f'the focal length must be a positive number of pixels, got {focal_length}'
            raise ValueError(msg)
        maps = self.infer(image)
        focal_ratio = focal_length / len(image) if focal_length else CITYSCAPES_FOCAL_RATIO
        return self.postprocess(maps, focal_ratio, instances=instances, depth=depth)

    def infer(self, image: np.ndarray) -> NetworkMaps:
        """Run the network on ``(H, W, 3)`` uint8 RGB: the part of ``predict`` on the device.

        An image of another size than the last one has an additional stage, ``configure``, in which
        the runtime prepares for the size.

        Raises:
            ValueError: The image has another type or shape, or the predictor is closed.
        """
        if self._is_closed:
            msg = 'the predictor is closed'
            raise ValueError(msg)
        # OpenCV ignores a buffer of another type or shape, so the network would see an old image.
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            msg = f'the image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}'
            raise ValueError(msg)
        milliseconds: dict[str, float] = {}
        size = image.shape[:2]
        if size != self._image_size:
            self._image_size = ()  # after a failure the runtime is ready for neither size
            with _timed('configure', milliseconds):
                self._runtime.configure(*size)
            self._image_size = size
        with _timed('preprocess', milliseconds):
            self._runtime.load(image)
        with _timed('network', milliseconds):
            maps = dict(zip(map_names(self.tasks), self._runtime.run(), strict=True))
        return NetworkMaps(**maps, milliseconds=milliseconds)

    def postprocess(
        self,
        maps: NetworkMaps,
        focal_ratio: float = CITYSCAPES_FOCAL_RATIO,
        *,
        instances: bool = True,
        depth: bool = True,
    ) -> Prediction:
        """Group votes and turn disparity into metres: the part of ``predict`` after the network.

        It runs on the CPU, and may run while another thread calls ``infer`` with the next image.

        Args:
            maps: Result of ``infer``.
            focal_ratio: Vertical focal length over image height.
            instances: Whether to group votes into instances.
            depth: Whether to decode depth.
        """
        milliseconds = dict(maps.milliseconds)
        prediction = Prediction(maps.labels, maps.confidence, milliseconds=milliseconds)
        if instances and maps.offsets is not None:
            with _timed('instance', milliseconds):
                grouped = group_instances(maps.labels, maps.confidence, maps.offsets, self.grouping)
            prediction = replace(
                prediction, instances=grouped.ids, scores=grouped.scores, offsets=maps.offsets
            )
        if depth and maps.disparity is not None:
            with _timed('depth', milliseconds):
                focal_length = focal_ratio * len(maps.labels)
                metres = decode_depth(maps.disparity, focal_length, self.max_depth)
            prediction = replace(prediction, depth=metres, disparity=maps.disparity)
        return prediction

    def close(self) -> None:
        """Release the network and its memory; the predictor cannot predict afterwards."""
        if not self._is_closed:
            self._is_closed = True
            self._runtime.close()


@contextmanager
def _timed(stage: str, milliseconds: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    milliseconds[stage] = (time.perf_counter() - start) * 1e3
