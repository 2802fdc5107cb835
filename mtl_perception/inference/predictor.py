"""From an image to the three maps: preprocessing, one forward pass, decoding."""

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
    """Turn images into predictions with the network of a checkpoint.

    One thread at a time may call ``infer``, and another one ``postprocess``. ``grouping`` and
    ``max_depth`` may be replaced at any time and apply to the calls that follow.

    Args:
        checkpoint: ``.safetensors`` file of this package, or name of an embedded checkpoint.
        device: auto, cpu, cuda or cuda:N.
        runtime: auto, torch, cuda_graph or openvino; auto is the fastest on the device.
        max_depth: Metres beyond which depth is +Inf.
        grouping: Parameters that group votes into instances.
        needs: Tasks that the network must have; semantic labels are always needed.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        CheckpointError: The checkpoint cannot be used, or lacks a task.
        ValueError: The device or runtime is unknown or absent.

    Example:
        >>> import numpy as np
        >>> from mtl_perception import Predictor
        >>> predictor = Predictor()
        >>> image = np.zeros((480, 640, 3), np.uint8)  # RGB
        >>> prediction = predictor.predict(image, focal_length=525.0)
        >>> prediction.labels.shape, prediction.depth.dtype
        ((128, 176), dtype('float32'))
        >>> predictor.close()
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
        network, self.info = load_checkpoint(checkpoint_path(checkpoint))
        needed = [task for task in TASKS if task in {'semantic', *needs}]
        if missing := [task for task in needed if task not in self.tasks]:
            msg = (
                f'{checkpoint}: its network lacks {", ".join(missing)}; its tasks are '
                f'{", ".join(self.tasks)}, and {", ".join(needed)} must be among them here'
            )
            raise CheckpointError(msg)
        self._runtime = create_runtime(runtime, network, device, self.info.input_height)
        self._image_size: tuple[int, ...] = ()
        if 'instance' in self.tasks:
            compile_optics()  # the first image must not wait for it
        self.max_depth = max_depth
        self.grouping = grouping

    @property
    def tasks(self) -> Sequence[str]:
        """What the network was trained for, labels among it."""
        return self.info.network.tasks

    @property
    def description(self) -> str:
        """One line that says what runs: network, runtime, device, training data and their terms."""
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
        """Return what is in ``image``: ``infer``, then ``postprocess``.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            focal_length: vertical, in pixels of ``image``; Cityscapes' field of view if not known.
            instances: whether to group votes into instances, where the network gives them.
            depth: whether to decode depth, likewise.
        """
        focal_ratio = focal_length / len(image) if focal_length else CITYSCAPES_FOCAL_RATIO
        return self.postprocess(self.infer(image), focal_ratio, instances=instances, depth=depth)

    def infer(self, image: np.ndarray) -> NetworkMaps:
        """Run the network on ``image``, ``(H, W, 3)`` uint8 RGB: what the device does.

        An image of another size than the one before takes longer, by the stage ``configure``: the
        runtime gets ready for it.
        """
        stages = _Stages()
        size = image.shape[:2]
        if size != self._image_size:
            self._image_size = ()  # if this fails, the runtime is ready for neither size
            with stages.measure('configure'):
                self._runtime.configure(*size)
            self._image_size = size
        with stages.measure('preprocess'):
            self._runtime.load(image)
        with stages.measure('network'):
            maps = dict(zip(map_names(self.tasks), self._runtime.run(), strict=True))
        return NetworkMaps(**maps, milliseconds=stages.milliseconds)

    def postprocess(
        self,
        maps: NetworkMaps,
        focal_ratio: float = CITYSCAPES_FOCAL_RATIO,
        *,
        instances: bool = True,
        depth: bool = True,
    ) -> Prediction:
        """Group votes and turn disparity into metres: what the CPU does after the network.

        It may run while another thread is in ``infer`` with the next image.

        Args:
            maps: of ``infer``.
            focal_ratio: vertical focal length over the image's height.
            instances: whether to group votes into instances, where the network gives them.
            depth: whether to decode depth, likewise.
        """
        stages = _Stages(maps.milliseconds)
        prediction = Prediction(maps.labels, maps.confidence, milliseconds=stages.milliseconds)
        if instances and maps.offsets is not None:
            with stages.measure('instance'):
                grouped = group_instances(maps.labels, maps.confidence, maps.offsets, self.grouping)
            prediction = replace(
                prediction, instances=grouped.ids, scores=grouped.scores, offsets=maps.offsets
            )
        if depth and maps.disparity is not None:
            with stages.measure('depth'):
                focal_length = focal_ratio * len(maps.labels)
                metres = decode_depth(maps.disparity, focal_length, self.max_depth)
            prediction = replace(prediction, depth=metres, disparity=maps.disparity)
        return prediction

    def close(self) -> None:
        """Let go of the network and its memory; nothing may be called any more."""
        self._runtime.close()


class _Stages:
    """Measures named stretches of time."""

    def __init__(self, earlier: dict[str, float] | None = None) -> None:
        self.milliseconds = dict(earlier or {})

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.milliseconds[name] = (time.perf_counter() - start) * 1e3
