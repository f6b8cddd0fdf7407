"""A small segmenter with a dynamic convolution and two outputs: stands for a network of your own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DynamicConv(nn.Module):
    """W(x) = λ(x) ⊙ W0 + P Φ(x) Q, with bn1 behind Q, bn2 behind Φ, and "+ q" (arXiv 2103.08756)."""

    def __init__(self, inputs: int, outputs: int, latent: int = 4, stride: int = 1) -> None:
        super().__init__()
        self.static = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.query = nn.Conv2d(inputs, latent, 1, stride, bias=False)
        self.project = nn.Conv2d(latent, outputs, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(latent), nn.BatchNorm2d(latent)
        self.squeeze = nn.Linear(inputs, 8)
        self.phi, self.scale = nn.Linear(8, latent * latent), nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.squeeze(x.mean((2, 3))))
        q = self.bn1(self.query(x))
        phi = self.phi(a).view(-1, q.shape[1], q.shape[1])
        mixed = torch.bmm(phi, q.flatten(2)).view_as(q)
        scale = F.relu6(self.scale(a) + 3)[:, :, None, None] / 3
        return scale * self.static(x) + self.project(self.bn2(mixed) + q)  # type: ignore[no-any-return]


class Segmenter(nn.Module):
    """An encoder, a decoder with a skip connection, and two outputs: a mask and edges."""

    def __init__(self, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.down = nn.Sequential(DynamicConv(width, 2 * width, stride=2), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.merge = nn.Sequential(DynamicConv(2 * width, width), nn.BatchNorm2d(width), nn.ReLU())
        self.mask, self.edges = nn.Conv2d(width, 2, 1), nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        early = self.stem(x)
        late = self.up(self.down(early))
        y = self.merge(torch.cat([early, late], dim=1))
        return {"mask": self.mask(y), "edges": torch.sigmoid(self.edges(y))}
