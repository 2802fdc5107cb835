# SPDX-License-Identifier: Apache-2.0
"""Devices of this machine and their capabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch

TEGRA = {53, 62, 72, 87}
"""Compute capabilities of Jetsons, times ten; they share binaries with no other GPU."""


@dataclass(frozen=True)
class Gpu:
    """CUDA device, and the architectures that PyTorch was built for, such as ``sm_86``.

    The capability is the compute capability, times ten: 86 for 8.6.
    """

    name: str
    capability: int
    architectures: Sequence[str]

    def has_kernels(self) -> bool:
        """Return whether this build of PyTorch runs on the GPU; no wheel supports every GPU."""
        return any(_runs_on(self.capability, name) for name in self.architectures)


def visible_gpus() -> list[Gpu]:
    """Return the GPUs that PyTorch can use in this process, by index; this starts CUDA."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [torch.cuda.get_device_properties(index) for index in range(count)]
    return [Gpu(gpu.name, 10 * gpu.major + gpu.minor, torch.cuda.get_arch_list()) for gpu in found]


def resolve_device(name: str, gpus: Sequence[Gpu] | None = None) -> torch.device:
    """Return the PyTorch device called ``name``.

    Args:
        name: cpu, cuda, cuda:N or auto, which is the first GPU if it can be used, else the CPU.
        gpus: GPUs by index; ``None``: ``visible_gpus``, called only if the name needs it.

    Raises:
        ValueError: The name is unknown, or this machine or this build of PyTorch lacks the device.
    """
    try:
        device = torch.device('cuda' if name == 'auto' else name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        msg = f'unknown device {name!r}; choose auto, cpu, cuda or cuda:N'
        raise ValueError(msg)
    if device.type == 'cpu':
        return device
    gpus = visible_gpus() if gpus is None else gpus
    if name == 'auto':
        return device if gpus and gpus[0].has_kernels() else torch.device('cpu')
    index = device.index or 0
    if index >= len(gpus):
        msg = f'no device {name!r}: PyTorch sees {len(gpus)} CUDA devices here'
        raise ValueError(msg)
    if not gpus[index].has_kernels():
        msg = (
            f'{gpus[index].name}: PyTorch {torch.__version__} was built for '
            f'{", ".join(gpus[index].architectures)} only; install one for this GPU, or use cpu'
        )
        raise ValueError(msg)
    return device


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the device has instructions that multiply bfloat16."""
    if device.type == 'cuda':
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of PyTorch do not report it. Every CPU with AMX has AVX512-BF16 too.
    capabilities = getattr(torch.cpu, 'get_capabilities', None)
    return capabilities is not None and capabilities().get('avx512_bf16', False)


def has_openvino() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec('openvino') is not None


def _runs_on(capability: int, architecture: str) -> bool:
    kind, _, number = architecture.partition('_')
    if kind not in ('sm', 'compute'):
        return True  # ROCm has other names
    version = int(number.rstrip('af'))
    if kind == 'compute':  # PTX, compiled at load time for this capability and all later ones
        return version <= capability
    if {version, capability} & TEGRA:
        return version == capability
    return version // 10 == capability // 10 and version <= capability
