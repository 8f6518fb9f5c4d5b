"""The nucleus network: a plain U-Net whose output at a pixel depends only on pixels within its
reach.

No layer sees statistics of its window (BatchNorm is a fixed affine map at inference and is folded
into the convolutions at export), so fixed windows with a halo of at least 107 px give the values of
the whole image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HEADS = ("foreground", "distance", "contact")
"""Meaning of the output channels (logits; the sigmoid is applied to all three)."""
WIDTH = (8, 24, 48, 96, 192)
HALF_WIDTH = (32, 48, 96, 192)
NETWORKS: dict[str, dict[str, Any]] = {
    "full": {"width": WIDTH},
    "half": {"width": HALF_WIDTH, "shuffle": 2},
}
"""Arguments of `UNet`: `full` is the network that ships; `half` begins and ends at half
resolution."""


def double_convolution(n_in: int, n_out: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each followed by BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """U-Net (Ronneberger 2015) with `width[k]` channels after k poolings.

    The default is thin at full resolution, where nearly half of the time goes: against (16, 32, 64,
    128, 256) it takes 0.73 instead of 1.35 CPU s per Mpx in onnxruntime (AVX2, one thread) and 1.0
    instead of 1.65 CPU s per training step of 8 x 160 x 160.

    With `shuffle` 2 the image enters as 4 channels at half resolution (every pixel is still there:
    space to depth) and each output pixel of half resolution holds 2 x 2 of full resolution. (32,
    48, 96, 192) then has the default's lower levels, and takes four fifths of its time in
    onnxruntime and three quarters in training.

    Input (N, 1, Y, X) float32 with Y and X multiples of `shuffle` * 2 ** (len(width) - 1); output
    (N, heads, Y, X) logits.
    """

    def __init__(
        self, width: tuple[int, ...] = WIDTH, heads: int = len(HEADS), shuffle: int = 1
    ) -> None:
        super().__init__()
        depth = len(width) - 1
        self.width, self.shuffle = tuple(width), shuffle
        first = double_convolution(shuffle**2, width[0])
        self.down = nn.ModuleList(
            [first] + [double_convolution(width[i], width[i + 1]) for i in range(depth)]
        )
        self.expand = nn.ModuleList(
            [nn.ConvTranspose2d(width[i + 1], width[i], 2, 2) for i in reversed(range(depth))]
        )
        self.up = nn.ModuleList(
            [double_convolution(2 * width[i], width[i]) for i in reversed(range(depth))]
        )
        side = 3 if shuffle > 1 else 1
        self.head = nn.Conv2d(width[0], heads * shuffle**2, side, padding=side // 2)
        nn.init.constant_(self.head.bias, -1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, heads, Y, X) of normalised images (N, 1, Y, X)."""
        if self.shuffle > 1:
            x = F.pixel_unshuffle(x, self.shuffle)
        skips: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        x = skips.pop()
        for expand, block in zip(self.expand, self.up, strict=True):
            x = block(torch.cat([expand(x), skips.pop()], 1))
        x = self.head(x)
        return F.pixel_shuffle(x, self.shuffle) if self.shuffle > 1 else x


def fold_batchnorm(net: UNet) -> UNet:
    """Return a copy in evaluation mode whose BatchNorms are folded into the convolutions before
    them.
    """
    import copy

    from torch.nn.utils.fusion import fuse_conv_bn_eval

    net = copy.deepcopy(net).eval()
    for block in [*net.down, *net.up]:
        for i in (0, 3):
            block[i] = fuse_conv_bn_eval(block[i], block[i + 1])
            block[i + 1] = nn.Identity()
    return net


class Probabilities(nn.Module):
    """The network as it ships: folded, with the sigmoid applied, values in 0..1."""

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = fold_batchnorm(net)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, heads, Y, X)."""
        return torch.sigmoid(self.net(x))


def export_onnx(net: UNet, path: str) -> None:
    """Write the folded network as ONNX (opset 17, dynamic batch, height and width; input `image`,
    output `maps`).
    """
    import warnings

    axes = {0: "n", 2: "y", 3: "x"}
    with (
        warnings.catch_warnings()
    ):  # the exporter that needs no onnxscript says that it is the older one
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Probabilities(net.to("cpu").to(memory_format=torch.contiguous_format)),
            (torch.zeros(1, 1, 64, 64),),
            path,
            input_names=["image"],
            output_names=["maps"],
            dynamic_axes={"image": axes, "maps": axes},
            opset_version=17,
            dynamo=False,
        )


def start_from_onnx(net: UNet, path: Path, images: torch.Tensor) -> None:
    """Load an exported network, whose BatchNorms are folded: each becomes the identity on what it
    sees of `images` (N, 1, Y, X).
    """
    import onnx
    from onnx.numpy_helper import to_array

    weights = {
        tensor.name: torch.from_numpy(to_array(tensor).copy())
        for tensor in onnx.load(path).graph.initializer
    }
    folded, shift = fold_batchnorm(net).state_dict(), {}
    ours, theirs = (
        [list(value.shape) for value in folded.values()],
        [list(value.shape) for value in weights.values()],
    )
    if ours != theirs:
        raise ValueError(
            f"{path}: found weights of shapes {theirs}, expected {ours}; start from a network of"
            " this architecture"
        )
    values = dict(zip(folded, weights.values(), strict=True))
    state = net.state_dict()
    for name, value in values.items():
        if name in state:
            state[name].copy_(value)
        else:  # the bias of a convolution that had none before its BatchNorm was folded into it
            block, index, _ = name.rsplit(".", 2)
            shift[f"{block}.{int(index) + 1}"] = value

    def identity(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        spread, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(spread)
        norm.weight.data.copy_((spread + norm.eps).sqrt())
        norm.bias.data.copy_(mean + shift[names[norm]].to(mean.device))

    norms = {
        name: layer for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)
    }
    names = {layer: name for name, layer in norms.items()}
    hooks = [layer.register_forward_pre_hook(identity) for layer in norms.values()]
    with torch.no_grad():
        net.eval()(images)
    for hook in hooks:
        hook.remove()


def transplant(source: UNet, target: UNet) -> None:
    """Give a `half` network what a `full` one has learnt at the levels they share; first
    convolution and head stay as they are.

    Channels that the target has on top keep their random weights.
    """
    theirs, ours = source.state_dict(), target.state_dict()
    skipped = len(source.width) - len(target.width)
    for name, value in ours.items():
        part, index, *rest = name.split(".")
        if part == "head" or (part == "down" and name.startswith("down.0.0")) or value.dim() == 0:
            continue
        old = theirs[".".join([part, str(int(index) + (skipped if part == "down" else 0)), *rest])]
        if part == "up" and rest == [
            "0",
            "weight",
        ]:  # two halves: what comes from below, and the skip
            for new_half, old_half in zip(value.chunk(2, 1), old.chunk(2, 1), strict=True):
                copy_corner(new_half, old_half)
        else:
            copy_corner(value, old)


def copy_corner(target: torch.Tensor, source: torch.Tensor) -> None:
    """Copy a tensor into the first places of a larger one."""
    target[tuple(slice(0, n) for n in source.shape)].copy_(source)


def net_of(state: dict[str, torch.Tensor]) -> UNet:
    """Return the network of `NETWORKS` that these weights are of, with them.

    Raises
    ------
    ValueError
        If they are of none.
    """
    shapes = {name: value.shape for name, value in state.items()}
    for arguments in NETWORKS.values():
        net = UNet(**arguments)
        if shapes == {name: value.shape for name, value in net.state_dict().items()}:
            net.load_state_dict(state)
            return net
    raise ValueError(f"found weights of none of the networks {', '.join(NETWORKS)}")


def save_weights(net: UNet, path: Path) -> None:
    """Write weights in half precision (BatchNorm's statistics in single), as small as a later run
    needs to go on from them.
    """
    arrays = {
        name: (
            value.cpu().numpy()
            if "running" in name or value.dim() == 0
            else value.cpu().numpy().astype(np.float16)
        )
        for name, value in net.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)


def load_weights(net: UNet, path: Path) -> None:
    """Read what `save_weights` wrote.

    Raises
    ------
    ValueError
        If the file is of another architecture.
    """
    state = net.state_dict()
    with np.load(path) as stored:
        shapes = {name: stored[name].shape for name in stored.files}
        if shapes != {name: tuple(value.shape) for name, value in state.items()}:
            raise ValueError(
                f"{path}: found weights of another architecture; pass the --network that it was"
                " trained with"
            )
        for name, value in state.items():
            value.copy_(torch.from_numpy(np.asarray(stored[name])))
