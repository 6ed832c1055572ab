"""`tfgen devices`: why TensorFlow uses no GPU, and what to do."""

import pytest

from tfgen.training import devices
from tfgen.training.devices import Circumstances

GPU = {"nvidia_cards": 1, "driver_gpus": 1}
CASES = {
    "Windows": ({"system": "Windows"}, "for Windows have no GPU support", "WSL2"),
    "macOS": ({"system": "Darwin"}, "for Darwin have no GPU support", "tensorflow-metal"),
    "CPU wheel": ({"cuda_build": False, **GPU}, "is for CPUs only", "tfgen[gpu]"),
    "AMD": ({"cuda_build": False, "rocm_build": True}, "no AMD GPU", "rocm-smi"),
    "hidden": ({"visible_devices": "", **GPU}, "VISIBLE_DEVICES, '', hides", "unset"),
    "hidden by -1": ({"visible_devices": "-1,0", **GPU}, "'-1,0', hides all", "unset"),
    "a number too high": (
        {"visible_devices": "7", "driver_error": "no CUDA-capable device is detected (100)"},
        "finds no GPU: no CUDA-capable device",
        "CUDA_VISIBLE_DEVICES, '7', names GPUs",
    ),
    "no driver": ({"driver": False, "nvidia_cards": 1}, "no libcuda.so.1", "install the driver"),
    "no card": ({"driver": False, "nvidia_cards": 0}, "no NVIDIA GPU is found", "--gpus all"),
    "container": ({"driver": False}, "driver is not installed", "docker run --gpus all"),
    "broken driver": (
        {"driver_error": "unknown error (999)", "nvidia_cards": 1},
        "does not start: unknown error (999)",
        "nvidia-smi",
    ),
    "no GPU": ({}, "offers no GPU", "nvidia-smi"),
    "no libraries": (
        {**GPU, "missing_libraries": ("libcudnn.so.9",), "visible_devices": "GPU-5a2b"},
        "CUDA libraries are missing: libcudnn.so.9",
        "pip install 'tfgen[gpu]'",
    ),
    "otherwise": (GPU, "TensorFlow refuses the GPU", "TF_CPP_MIN_LOG_LEVEL=0"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_reason_and_the_advice(case):
    given, reason, advice = CASES[case]
    found = devices.why_no_gpu(Circumstances(**given))
    assert reason in found[0]
    assert advice in found[1]
    assert not any("\n" in text for text in found)


def test_cards_are_found_on_the_bus(tmp_path):
    for name, kind, vendor in [
        ("gpu", "0x030200", "0x10de"),
        ("sound of the gpu", "0x040300", "0x10de"),
        ("another gpu", "0x030000", "0x1002"),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "class").write_text(kind + "\n")
        (tmp_path / name / "vendor").write_text(vendor + "\n")
    assert devices._nvidia_cards(tmp_path) == 1
    assert devices._nvidia_cards(tmp_path / "nowhere") is None


def test_libraries_are_found_where_the_extra_gpu_installs_them(tmp_path, monkeypatch):
    missing = devices._missing_libraries()
    for name, package in devices.CUDA_LIBRARIES.items():
        folder = tmp_path / "nvidia" / package / "lib"
        folder.mkdir(parents=True, exist_ok=True)
        if name != "libcufft.so.11":
            (folder / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert set(devices._missing_libraries()) == {"libcufft.so.11"} & {*missing}
