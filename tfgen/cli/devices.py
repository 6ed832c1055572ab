"""`tfgen devices`."""

from __future__ import annotations

import argparse
import dataclasses

from rich.text import Text

from tfgen.cli.common import quiet_start
from tfgen.cli.terminal import console, json_argument, print_json


def devices_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tfgen devices`."""
    json_argument(parser)


def devices(options: argparse.Namespace) -> None:
    """List the devices that TensorFlow uses, its build, and why there is no GPU among them."""
    with quiet_start():
        from tfgen.training import devices

        found, build = devices.devices(), devices.build()
        is_used = any(device.kind == "GPU" for device in found)
        reason, advice = (None, None) if is_used else devices.why_no_gpu(devices.circumstances())
    if options.json:
        print_json(
            {
                "tensorflow": build,
                "devices": [dataclasses.asdict(device) for device in found],
                "gpu": {"used": is_used, "reason": reason, "advice": advice},
            }
        )
        return
    lines = [f"TensorFlow {build['version']}, {_described(build)}"]
    lines += [f"{device.name}  {_properties(device)}" for device in found]
    if not is_used:
        lines += [f"No GPU is used: {reason}", f"What to do: {advice}"]
    for line in lines:
        console().print(Text(line), soft_wrap=True)


def _described(build):
    if build["cuda"]:
        return f"built with CUDA {build['cuda']} and cuDNN {build['cudnn']}"
    if build["gpu_support"]:
        return f"built with ROCm {build['rocm']}"
    return "built for CPUs only"


def _properties(device):
    found = [device.model or "unknown model"]
    if device.cores is not None:
        found.append(f"{device.cores} core{'' if device.cores == 1 else 's'}")
    if device.memory is not None:
        found.append(f"{device.memory / 2**30:,.1f} GiB")
    if device.compute_capability is not None:
        found.append(f"compute capability {device.compute_capability}")
    return ", ".join(found)
