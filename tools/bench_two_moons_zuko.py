"""zuko's neural spline flow on the batches of tools/bench_two_moons.py, which starts this script.

It imports neither TensorFlow nor tfgen, so that any Python with zuko can run it.
"""

import json
import sys

import numpy as np
import torch
import zuko


def test_log_prob(data, seed, learning_rate, decay):
    torch.manual_seed(seed)
    flow = zuko.flows.NSF(features=2)
    optimizer = torch.optim.Adam(flow.parameters(), lr=learning_rate)
    train, test = torch.from_numpy(data["train"]), torch.from_numpy(data["test"])
    batches = data[f"batches_{seed}"]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + np.cos(np.pi * step / len(batches))) if decay else 1.0
    )
    for rows in batches:
        optimizer.zero_grad()
        (-flow().log_prob(train[rows]).mean()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float(flow().log_prob(test).mean())


if __name__ == "__main__":
    file, learning_rate, decay, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with np.load(file) as data:
        seeds = sorted(int(name.split("_")[1]) for name in data if name.startswith("batches_"))
        arrays = {name: data[name] for name in data}
    found = [test_log_prob(arrays, s, float(learning_rate), decay == "cosine") for s in seeds]
    print(json.dumps(found))
