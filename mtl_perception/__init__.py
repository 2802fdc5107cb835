# SPDX-License-Identifier: Apache-2.0
"""Semantic labels, instances and metric depth from one forward pass, as ROS 2 topics.

Examples:
    >>> import mtl_perception
    >>> predictor = mtl_perception.Predictor('street')
    >>> predictor.tasks
    ('semantic', 'instance', 'depth')
    >>> predictor.close()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_perception.inference.predictor import Predictor
    from mtl_perception.objects import Object
    from mtl_perception.prediction import Prediction

__version__ = '0.1.0'

PUBLIC = {
    'Object': 'mtl_perception.objects',
    'Prediction': 'mtl_perception.prediction',
    'Predictor': 'mtl_perception.inference.predictor',
}
"""Module of each public class, imported at its first use: PyTorch alone takes seconds."""

__all__ = ['Object', 'Prediction', 'Predictor', '__version__']


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
