"""The paper's network in PyTorch, in a process that runs a step when told to, as kseg.benchmark.step_worker does.

Usage: python torch_worker.py '{"mode": "eager" or "compile", "patch": [96, 96, 96], "batch": 1}'

On a processor, or with `"device": "gpu"` on a GPU if there is one; `"precision"` is then "float32", "tf32" or
"bfloat16".
"""

import json
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional

FILTERS, RATES, EPSILON, MOMENTUM = (4, 8, 16, 32, 64), (1, 2, 3, 4), 1e-3, 0.1


class SharedDilated(nn.Module):
    """One kernel at every rate, then bias, batch norm and ReLU with the scale and shift shared."""

    def __init__(self, channels, filters):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(filters, channels, 3, 3, 3)))
        self.bias = nn.Parameter(torch.zeros(filters))
        self.scale, self.shift = nn.Parameter(torch.ones(filters)), nn.Parameter(torch.zeros(filters))
        for name, value in (("mean", 0.0), ("variance", 1.0)):
            self.register_buffer(name, torch.full((len(RATES) * filters,), value))

    def forward(self, x):
        branches = [functional.conv3d(x, self.weight, self.bias, padding=rate, dilation=rate) for rate in RATES]
        scale, shift = self.scale.repeat(len(RATES)), self.shift.repeat(len(RATES))
        maps = torch.cat(branches, 1)
        return functional.relu(
            functional.batch_norm(maps, self.mean, self.variance, scale, shift, self.training, MOMENTUM, EPSILON)
        )


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        inputs = (1, *(len(RATES) * filters for filters in FILTERS[:-1]))
        self.encoder = nn.ModuleList(SharedDilated(c, f) for c, f in zip(inputs, FILTERS, strict=True))
        outputs = tuple(reversed(FILTERS))
        inputs = tuple(len(RATES) * filters for filters in (outputs[0], *outputs[:-1]))
        self.decoder = nn.ModuleList(SharedDilated(c, f) for c, f in zip(inputs, outputs, strict=True))
        self.output = nn.Conv3d(len(RATES) * FILTERS[0], 2, 3, padding=1)

    def forward(self, x):
        for layer in self.encoder:
            x = functional.max_pool3d(layer(x), 2)
        for layer in self.decoder:
            x = layer(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return torch.softmax(self.output(x), 1)


def main():
    options = json.loads(sys.argv[1])
    torch.manual_seed(0)
    device = torch.device("cuda" if options.get("device") == "gpu" and torch.cuda.is_available() else "cpu")
    precision = options.get("precision", "float32")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    network = Network().to(device).to(memory_format=torch.channels_last_3d)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_031_606
    logits = nn.Parameter(torch.zeros(2, device=device))
    optimizer = torch.optim.Adam([*network.parameters(), logits])
    shape = (options["batch"], *options["patch"])
    voxels = torch.randn(shape[0], 1, *shape[1:], device=device).to(memory_format=torch.channels_last_3d)
    labels = torch.randint(0, 2, shape, device=device)
    compiled = torch.compile(network) if options["mode"] == "compile" else network

    def run(voxels):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            return compiled(voxels).float()

    def train():
        network.train()
        optimizer.zero_grad()
        predicted, truth = run(voxels)[:, 1], labels.float()
        tp = (predicted * truth).sum()
        alpha, beta = torch.softmax(logits, 0)
        loss = 1 - tp / (tp + alpha * (predicted.sum() - tp) + beta * (truth.sum() - tp))
        loss.backward()
        optimizer.step()

    def forward():
        network.eval()
        with torch.no_grad():
            run(voxels)

    def peak():
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if "device" not in options:
            return host
        if device.type == "cpu":
            return {"device": "CPU", "peak_bytes": host}
        return {"device": torch.cuda.get_device_name(), "peak_bytes": torch.cuda.max_memory_allocated()}

    jobs = {"train": train, "forward": forward}
    for line in sys.stdin:
        job = line.strip()
        if job == "peak":
            answer = peak()
        else:
            began = time.perf_counter()
            jobs[job]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            answer = time.perf_counter() - began
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
