"""A plain Glow in PyTorch, channels-last, for tools/bench_glow.py."""

import math

import torch
from torch import nn
from torch.nn import functional


class ActNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def initialize(self, x):
        deviation, mean = torch.std_mean(x, dim=(0, 2, 3), keepdim=True)
        self.log_scale.data = -deviation.log()
        self.shift.data = -mean / deviation

    def forward(self, x):
        return x * self.log_scale.exp() + self.shift, x[0, 0].numel() * self.log_scale.sum()


class InvertibleConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels))
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.register_buffer("identity", torch.eye(channels))
        self.lower = nn.Parameter(lower)
        self.upper = nn.Parameter(upper)
        self.log_diagonal = nn.Parameter(diagonal.abs().log())

    def forward(self, x):
        lower = self.lower.tril(-1) + self.identity
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        matrix = self.permutation @ lower @ upper
        y = functional.conv2d(x, matrix[:, :, None, None])
        return y, x[0, 0].numel() * self.log_diagonal.sum()


class Coupling(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Conv2d(channels // 2, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            last,
        )

    def forward(self, x):
        changed, conditioner = x.chunk(2, dim=1)
        shift, raw = self.network(conditioner).float().chunk(2, dim=1)
        log_scale = 2 * torch.tanh(0.5 * raw)
        y = torch.cat([changed * log_scale.exp() + shift, conditioner], dim=1)
        return y, log_scale.sum(dim=(1, 2, 3))


class Split(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.prior = nn.Conv2d(channels // 2, channels, 3, padding=1)
        nn.init.zeros_(self.prior.weight)
        nn.init.zeros_(self.prior.bias)

    def forward(self, x):
        staying, leaving = x.chunk(2, dim=1)
        mean, log_scale = self.prior(staying).float().chunk(2, dim=1)
        return staying, (leaving - mean) * (-log_scale).exp(), -log_scale.sum(dim=(1, 2, 3))


class TorchGlow(nn.Module):
    """`log_prob` of uint8 images `[N, C, H, W]`, in nats."""

    def __init__(self, image_shape, levels, depth, width):
        super().__init__()
        self.size = math.prod(image_shape)
        channels = image_shape[-1]
        self.levels, self.splits = nn.ModuleList(), nn.ModuleList()
        for level in range(levels):
            channels *= 4
            steps = [
                layer
                for _ in range(depth)
                for layer in (
                    ActNorm(channels),
                    InvertibleConv(channels),
                    Coupling(channels, width),
                )
            ]
            self.levels.append(nn.ModuleList(steps))
            if level < levels - 1:
                self.splits.append(Split(channels))
                channels //= 2

    def initialize(self, pixels):
        with torch.no_grad():
            self._latents(pixels, initialize=True)

    def log_prob(self, pixels):
        latents, log_det = self._latents(pixels)
        normalizer = self.size * (0.5 * math.log(2 * math.pi) + math.log(256))
        return log_det - 0.5 * sum(z.square().sum(dim=(1, 2, 3)) for z in latents) - normalizer

    def _latents(self, pixels, initialize=False):
        x = (pixels.float() + torch.rand(pixels.shape)) / 256 - 0.5
        x = x.contiguous(memory_format=torch.channels_last)
        latents, log_det = [], torch.zeros(len(x))
        for level, steps in enumerate(self.levels):
            x = functional.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
            for layer in steps:
                if initialize and isinstance(layer, ActNorm):
                    layer.initialize(x)
                x, change = layer(x)
                log_det = log_det + change
            if level < len(self.splits):
                x, leaving, change = self.splits[level](x)
                latents.append(leaving)
                log_det = log_det + change
        return [*latents, x], log_det
