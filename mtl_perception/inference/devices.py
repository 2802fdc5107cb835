"""Which devices there are, and what they can do."""

from importlib.util import find_spec

import torch

TEGRA = {53, 62, 72, 87}
"""Capabilities, times ten, of Jetsons: these run no others' code, nor others theirs."""


def resolve_device(name: str) -> torch.device:
    """Return the PyTorch device called ``name``; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        ValueError: not a device, or not one of this machine.
    """
    if name == 'auto':
        usable = torch.cuda.is_available() and _has_kernels(torch.device('cuda'))
        return torch.device('cuda' if usable else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        msg = f'unknown device {name!r}; choose auto, cpu, cuda or cuda:N'
        raise ValueError(msg)
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        msg = f'no device {name!r}: PyTorch sees {torch.cuda.device_count()} CUDA devices here'
        raise ValueError(msg)
    if device.type == 'cuda' and not _has_kernels(device):
        msg = (
            f'{torch.cuda.get_device_name(device)}: PyTorch {torch.__version__} was built for '
            f'{", ".join(torch.cuda.get_arch_list())} only; install one for this GPU, or use cpu'
        )
        raise ValueError(msg)
    return device


def _has_kernels(device: torch.device) -> bool:
    """Return whether this build of PyTorch runs on that GPU: no wheel is for all there are."""
    major, minor = torch.cuda.get_device_capability(device)
    return any(_runs_on(10 * major + minor, name) for name in torch.cuda.get_arch_list())


def _runs_on(capability: int, architecture: str) -> bool:
    """Return whether a GPU of that capability, times ten, runs code for ``sm_86``, say."""
    kind, _, number = architecture.partition('_')
    if kind not in ('sm', 'compute'):
        return True  # ROCm's have other names
    version = int(number.rstrip('af'))
    if kind == 'compute':  # compiled on the spot, for this capability and all that came later
        return version <= capability
    if {version, capability} & TEGRA:
        return version == capability
    return version // 10 == capability // 10 and version <= capability


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the device has instructions for it."""
    if device.type == 'cuda':
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of PyTorch do not tell. Every CPU with AMX has it too.
    capabilities = getattr(torch.cpu, 'get_capabilities', None)
    return capabilities is not None and capabilities().get('avx512_bf16', False)


def has_openvino() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec('openvino') is not None
