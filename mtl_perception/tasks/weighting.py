# SPDX-License-Identifier: Apache-2.0
"""Weighted sum of the losses of several tasks in different units.

Kendall, Gal, Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
Semantics*, CVPR 2018.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mtl_perception.tasks import TASKS

LIKELIHOOD_SCALE = {'semantic': 1.0, 'instance': 0.5, 'depth': 0.5}
"""Factor of exp(−s)·loss: 1 for a softmax likelihood, ½ for a regression."""

MAX_LOG_VARIANCE = 10.0


class UncertaintyWeighting(nn.Module):
    """Weights learned as each task's homoscedastic uncertainty ``s = log σ²``, starting at 0.

    The total ``Σ c·e^(−s)·loss + ½·s``, with ``c`` = 1 for cross-entropy and ½ for L1, is a
    negative log-likelihood and can be negative. Its minimum is at ``s = log(2c·loss)``.
    """

    def __init__(self, tasks: Iterable[str] = TASKS) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict(
            {task: nn.Parameter(torch.zeros(())) for task in _checked(tasks)}
        )

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted total of ``losses``; weights of absent tasks get no gradient."""
        terms = []
        for task, loss in losses.items():
            s = self.log_variance[task]
            with torch.no_grad():  # in the graph, a clamped value would get no gradient
                s.clamp_(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)
            terms.append(LIKELIHOOD_SCALE[task] * torch.exp(-s) * loss + s / 2)
        return torch.stack(terms).sum()

    def weights(self) -> dict[str, Tensor]:
        """Return the current factor of each task's loss."""
        return {
            task: LIKELIHOOD_SCALE[task] * torch.exp(-s.detach())
            for task, s in self.log_variance.items()
        }

    def sigmas(self) -> dict[str, Tensor]:
        """Return the current uncertainty σ of each task."""
        return {task: torch.exp(s.detach() / 2) for task, s in self.log_variance.items()}


class FixedWeighting(nn.Module):
    """Constant weights; a weight of 0 leaves the task out of the total."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        _checked(weights)
        if not all(weight >= 0 for weight in weights.values()) or not any(weights.values()):
            msg = f'weights must not be negative and not all zero, got {dict(weights)}'
            raise ValueError(msg)
        self._weights = dict(weights)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted total of ``losses``."""
        return torch.stack([self._weights[task] * loss for task, loss in losses.items()]).sum()

    def weights(self) -> dict[str, float]:
        """Return the factor of each task's loss."""
        return dict(self._weights)

    def sigmas(self) -> dict[str, Tensor]:
        """Return nothing: no uncertainty is learned."""
        return {}


def _checked(tasks: Iterable[str]) -> list[str]:
    tasks = list(tasks)
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        msg = f'unknown tasks {unknown or tasks}; the tasks are {", ".join(TASKS)}'
        raise ValueError(msg)
    return tasks
