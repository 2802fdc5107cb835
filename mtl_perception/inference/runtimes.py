"""What runs the network: one small interface, one class a back end."""

from typing import Protocol

import numpy as np
import torch

from mtl_perception.network.multitask import MultiTaskNetwork, NetworkOutput, normalize


class Runtime(Protocol):
    """Runs a network on one image at a time."""

    name: str

    def run(self, image: np.ndarray) -> NetworkOutput:
        """Return the outputs, N = 1, for an ``(h, w, 3)`` uint8 RGB image of the input size."""


class TorchRuntime:
    """Eager PyTorch on the CPU or a GPU, in bfloat16 where the hardware multiplies it.

    Args:
        network: is moved to the device and changed in place.
        device: a PyTorch device.
    """

    name = 'torch'

    def __init__(self, network: MultiTaskNetwork, device: torch.device) -> None:
        self._device = device
        self._dtype = torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
        self._network = network.eval().to(device, self._dtype)
        # mypy knows only the overloads without a memory format.
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(self, image: np.ndarray) -> NetworkOutput:
        """See ``Runtime.run``."""
        images = torch.from_numpy(image).to(self._device)[None]
        return self._network(normalize(images).to(self._dtype))


RUNTIMES = {'torch': TorchRuntime}


def create_runtime(name: str, network: MultiTaskNetwork, device: str) -> Runtime:
    """Return a runtime; ``auto`` is the fastest there is, on a GPU if there is one.

    Raises:
        ValueError: unknown name, or a device that this machine does not have.
    """
    if name != 'auto' and name not in RUNTIMES:
        msg = f'unknown runtime {name!r}; choose auto or {", ".join(RUNTIMES)}'
        raise ValueError(msg)
    return RUNTIMES['torch' if name == 'auto' else name](network, resolve_device(device))


def resolve_device(name: str) -> torch.device:
    """Return the PyTorch device called ``name``; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        ValueError: not a device, or not one of this machine.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
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
    return device


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = torch.backends.cpu.get_cpu_capability()
    return flags == 'AVX512' and torch.ops.mkldnn._is_mkldnn_bf16_supported()
