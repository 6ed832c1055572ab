"""The devices that TensorFlow uses, and the reason if a GPU is not among them."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import platform
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

PCI_DISPLAY_CLASS, NVIDIA = "0x03", "0x10de"
# What TensorFlow loads when it starts on a GPU: file names for CUDA 12 and cuDNN 9.
CUDA_LIBRARIES = {
    "libcudart.so.12": "cuda_runtime",
    "libcublas.so.12": "cublas",
    "libcublasLt.so.12": "cublas",
    "libcufft.so.11": "cufft",
    "libcusolver.so.11": "cusolver",
    "libcusparse.so.12": "cusparse",
    "libcudnn.so.9": "cudnn",
}
INSTALL = "pip install 'tfgen[gpu]'"


@dataclasses.dataclass(frozen=True)
class Device:
    """A device that TensorFlow uses.

    Attributes:
        name: its name in TensorFlow, such as "GPU:0".
        kind: "CPU" or "GPU".
        model: the name of the product; None if it is unknown.
        memory: in bytes; None if it is unknown.
        cores: of a CPU, the number that this process may use.
        compute_capability: of a GPU, such as "9.0".
    """

    name: str
    kind: str
    model: str | None
    memory: int | None
    cores: int | None = None
    compute_capability: str | None = None


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What decides whether TensorFlow can use a GPU.

    Attributes:
        system: as `platform.system()`.
        cuda_build: whether this build of TensorFlow can use NVIDIA GPUs.
        rocm_build: whether it can use AMD GPUs.
        visible_devices: the environment variable CUDA_VISIBLE_DEVICES; None if it is not set.
        nvidia_cards: number of NVIDIA's GPUs on the PCI bus; None if it cannot be read.
        driver: whether the library of the GPU driver, libcuda.so.1, can be loaded.
        driver_error: what the driver answers when it is started; "" if it starts.
        driver_gpus: number of GPUs that the driver offers.
        missing_libraries: those of CUDA and cuDNN that are not found.
    """

    system: str = "Linux"
    cuda_build: bool = True
    rocm_build: bool = False
    visible_devices: str | None = None
    nvidia_cards: int | None = None
    driver: bool = True
    driver_error: str = ""
    driver_gpus: int = 0
    missing_libraries: tuple[str, ...] = ()


def devices() -> list[Device]:
    """The CPU and the GPUs that TensorFlow sees.

    >>> from tfgen.training import devices
    >>> [device.name for device in devices.devices()][0]
    'CPU:0'
    """
    found = [_cpu(i) for i, _ in enumerate(tf.config.list_physical_devices("CPU"))]
    memories = _gpu_memories()
    for i, gpu in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(gpu)
        capability = details.get("compute_capability")
        found.append(
            Device(
                f"GPU:{i}",
                "GPU",
                details.get("device_name"),
                memories[i] if i < len(memories) else None,
                compute_capability=".".join(map(str, capability)) if capability else None,
            )
        )
    return found


def build() -> dict[str, Any]:
    """The version of TensorFlow and what it was built with; None for what it was built without.

    >>> from tfgen.training import devices
    >>> sorted(devices.build())
    ['cuda', 'cudnn', 'gpu_support', 'rocm', 'version']
    """
    info = tf.sysconfig.get_build_info()
    cuda, rocm = bool(info.get("is_cuda_build")), bool(info.get("is_rocm_build"))
    return {
        "version": tf.__version__,
        "gpu_support": cuda or rocm,
        "cuda": info.get("cuda_version") if cuda else None,
        "cudnn": info.get("cudnn_version") if cuda else None,
        "rocm": info.get("rocm_version") if rocm else None,
    }


def circumstances() -> Circumstances:
    """The circumstances on this machine."""
    info = tf.sysconfig.get_build_info()
    driver = _driver()
    error, gpus = _start(driver)
    return Circumstances(
        system=platform.system(),
        cuda_build=bool(info.get("is_cuda_build")),
        rocm_build=bool(info.get("is_rocm_build")),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        nvidia_cards=_nvidia_cards(Path("/sys/bus/pci/devices")),
        driver=driver is not None,
        driver_error=error,
        driver_gpus=gpus,
        missing_libraries=_missing_libraries(),
    )


def why_no_gpu(c: Circumstances) -> tuple[str, str]:
    """Why TensorFlow sees no GPU, and what to do.

    >>> from tfgen.training import devices
    >>> reason, advice = devices.why_no_gpu(devices.Circumstances(visible_devices="-1"))
    >>> reason
    "the environment variable CUDA_VISIBLE_DEVICES, '-1', hides all GPUs"
    """
    if c.system != "Linux":
        advice = {
            "Windows": "use Linux, or Windows Subsystem for Linux 2 (WSL2)",
            "Darwin": "Apple's package tensorflow-metal adds one for some versions of TensorFlow",
        }.get(c.system, "use Linux")
        return f"TensorFlow's packages for {c.system} have no GPU support", advice
    if not (c.cuda_build or c.rocm_build):
        return (
            "this build of TensorFlow is for CPUs only",
            f"pip uninstall tensorflow-cpu, then {INSTALL}; TensorFlow has GPU support for "
            "x86-64 and 64-bit Arm on Linux",
        )
    if c.rocm_build:
        return "TensorFlow finds no AMD GPU", "check that rocm-smi lists it"
    first = (c.visible_devices or "").split(",")[0].strip()
    if c.visible_devices is not None and (first in ("", "NoDevFiles") or first.startswith("-")):
        return (
            f"the environment variable CUDA_VISIBLE_DEVICES, {c.visible_devices!r}, hides all GPUs",
            "unset CUDA_VISIBLE_DEVICES, or set it to the numbers of GPUs, such as 0",
        )
    if not c.driver:
        reason = "NVIDIA's GPU driver is not installed: there is no libcuda.so.1"
        if c.nvidia_cards:
            return reason, "install the driver; nvidia-smi then lists the GPU"
        if c.nvidia_cards == 0:
            reason = f"no NVIDIA GPU is found on this machine, and {reason}"
        return (
            reason,
            "on a machine with an NVIDIA GPU, install its driver; in a container, start it with "
            "docker run --gpus all",
        )
    if c.visible_devices is not None and (c.driver_error or c.driver_gpus == 0):
        return (
            f"NVIDIA's GPU driver finds no GPU: {c.driver_error or 'none is there'}",
            f"check that the environment variable CUDA_VISIBLE_DEVICES, {c.visible_devices!r}, "
            "names GPUs that nvidia-smi lists",
        )
    if c.driver_error:
        return (
            f"NVIDIA's GPU driver does not start: {c.driver_error}",
            "check that nvidia-smi lists the GPU and that this user may open /dev/nvidia*; "
            "in a container, start it with docker run --gpus all",
        )
    if c.driver_gpus == 0:
        return (
            "NVIDIA's GPU driver offers no GPU",
            "check that nvidia-smi lists one",
        )
    if c.missing_libraries:
        return f"CUDA libraries are missing: {', '.join(c.missing_libraries)}", INSTALL
    return (
        "the driver and the CUDA libraries are there, but TensorFlow refuses the GPU",
        "run TF_CPP_MIN_LOG_LEVEL=0 tfgen devices: the messages of TensorFlow contain its reason",
    )


def _cpu(number):
    model = None
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(allowed(0)) if allowed else os.cpu_count()
    return Device(f"CPU:{number}", "CPU", model or platform.processor() or None, memory, cores)


def _nvidia_cards(bus):
    """The number of display devices of NVIDIA on the PCI bus."""
    try:
        ids = [
            ((card / "class").read_text().strip(), (card / "vendor").read_text().strip())
            for card in bus.iterdir()
        ]
    except OSError:
        return None
    return sum(kind.startswith(PCI_DISPLAY_CLASS) and v == NVIDIA for kind, v in ids)


def _driver():
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _start(driver):
    """The error of the driver, and the number of its GPUs."""
    if driver is None:
        return "", 0
    code = driver.cuInit(0)
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        return f"{(text.value or b'error').decode()} ({code})", 0
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    return "", count.value


def _gpu_memories():
    """The memory in bytes of each GPU that the driver offers to this process."""
    driver = _driver()
    error, count = _start(driver)
    sizes: list[int | None] = []
    for i in range(0 if error else count):
        handle, size = ctypes.c_int(), ctypes.c_size_t()
        failed = driver.cuDeviceGet(ctypes.byref(handle), i)
        failed = failed or driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
        sizes.append(None if failed else size.value)
    return sizes


def _missing_libraries():
    return tuple(name for name in CUDA_LIBRARIES if not _is_found(name))


def _is_found(name):
    """Whether a library is where TensorFlow looks: beside its package, or where the system does."""
    package = f"nvidia/{CUDA_LIBRARIES[name]}/lib/{name}"
    if any((Path(folder) / package).exists() for folder in sys.path):
        return True
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
