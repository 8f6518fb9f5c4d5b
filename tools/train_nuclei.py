"""Train ifquant's nucleus network and export it as ONNX.

    python tools/train_nuclei.py --data ../shared/data --out runs/nuclei --network half --minutes
    110 python tools/train_nuclei.py --data ../shared/data --out runs/open --network half --licences
    open --steps 40000 python tools/train_nuclei.py --data ../shared/data --out runs/on --network
    half --start tools/nuclei/weights/continued.npz --steps 20000

Started again with the same --out, the run goes on from its last checkpoint. The learning rate is
constant and falls at the end, over the last part (--cooldown) of --steps (reproducible) or
--minutes (in time on any machine): a later run takes it up again, with --start. --export PATH
writes the averaged weights of the last checkpoint as .onnx, or as .npz (half precision) for
--start.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # on a shared machine, waiting threads that spin cost three times the work itself

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from nuclei import data
from nuclei.banks import all_banks
from nuclei.network import (
    NETWORKS,
    UNet,
    export_onnx,
    load_weights,
    net_of,
    save_weights,
    start_from_onnx,
    transplant,
)
from nuclei.targets import loss


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        help=(
            "folder with nuclei_dsb2018 and nuclei_more (only splits `train`, less what is held"
            " out)"
        ),
    )
    parser.add_argument(
        "--licences",
        choices=("all", "open"),
        default="all",
        help="open: CC0, Apache-2.0 and CC BY sources only",
    )
    parser.add_argument("--network", choices=tuple(NETWORKS), default="full")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints, snapshots and the log"
    )
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int, help="length of the run in steps")
    budget.add_argument(
        "--minutes",
        type=float,
        help="length of the run in minutes of training, all starts together",
    )
    budget.add_argument(
        "--export", type=Path, help="write the last checkpoint as .onnx or .npz and stop"
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="begin with the weights of this .npz, checkpoint or .onnx, on a schedule of its own",
    )
    parser.add_argument(
        "--until-step", type=int, help="stop early (with a checkpoint), the schedule unchanged"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--bf16",
        action="store_true",
        help="multiply in bfloat16: 1.7 times as fast where the processor has avx512_bf16",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1, help="processes that make crops; 0 or 1")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--pool", type=int, default=300, help="simulated fields kept at a time")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument(
        "--cooldown",
        type=float,
        default=0.25,
        help="last part of the run, in which the learning rate falls to nothing",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-minutes", type=float, default=3.0)
    parser.add_argument("--snapshot-minutes", type=float, default=10.0)
    return parser.parse_args(argv)


def rate_at(fraction: float, step: int, peak: float, cooldown: float = 0.25) -> float:
    """Warm-up of 100 steps, a constant rate, and a straight fall to nearly nothing over the last
    part.
    """
    return (
        peak
        * min(1.0, (step + 1) / 100)
        * max(min(1.0, (1 - fraction) / max(cooldown, 1e-9)), 2e-3)
    )


def update_average(average: torch.nn.Module, net: torch.nn.Module, step: int) -> None:
    """Exponential moving average of weights and BatchNorm statistics, short at first."""
    decay = min(0.999, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(
            average.state_dict().values(), net.state_dict().values(), strict=True
        ):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that an interruption leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def all_crops(options: argparse.Namespace) -> data.Crops:
    """Read the images and set up the crops, from step 0 on."""
    cache = options.out / "fields"
    banks = (
        all_banks(
            options.data,
            licences=options.licences,
            seed=options.seed,
            pool=options.pool,
            cache=cache,
        )
        if options.data
        else None
    )
    return data.Crops(
        [],
        seed=options.seed,
        start=0,
        batch=options.batch,
        size=options.crop,
        pool=options.pool,
        cache=cache,
        banks=banks,
    )


def begin_with(net: UNet, path: Path, crops: data.Crops) -> None:
    """Load the weights of an earlier run; those of the `full` network also serve the `half` one."""
    if path.suffix == ".npz":
        load_weights(net, path)
    elif path.suffix == ".onnx":
        first = torch.from_numpy(np.stack([crops.crop(0, place)[0] for place in range(32)]))
        full = net if net.shuffle == 1 else UNet()
        start_from_onnx(full, path, first)
        if full is not net:
            transplant(full, net)
    else:
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])


def train(options: argparse.Namespace) -> int:
    """Run or resume; returns the number of steps done."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.pt"
    device = torch.device(options.device)
    crops = all_crops(options)
    net = UNet(**NETWORKS[options.network])
    if options.start and not checkpoint.exists():
        begin_with(net, options.start, crops)
    net = net.to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), options.rate, weight_decay=1e-2)
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["seconds"]
        torch.set_rng_state(state["rng"].cpu())
    crops.start = step
    batches = iter(
        torch.utils.data.DataLoader(
            crops,
            batch_size=None,
            num_workers=min(options.workers, 1),
            prefetch_factor=6 if options.workers else None,
        )
    )
    shares = {bank.name: round(bank.share, 3) for bank in crops.banks}
    print(json.dumps({"shares": shares, "start": step, "seconds": round(spent)}), flush=True)

    def state_now() -> dict[str, Any]:
        return {
            "net": net.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "seconds": spent,
            "rng": torch.get_rng_state(),
        }

    net.train()
    total, counted, saved, last = 0.0, 0, spent, time.monotonic()
    while True:
        fraction = step / options.steps if options.steps else spent / (60 * options.minutes)
        if fraction >= 1 or step == options.until_step:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(fraction, step, options.rate, options.cooldown)
        images, maps = next(batches)
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            logits = net(images)
        error = loss(logits.float(), maps.to(device))
        optimizer.zero_grad(set_to_none=True)
        error.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        update_average(average, net, step)
        total, counted = total + error.item(), counted + 1
        now = time.monotonic()
        before, spent, last = spent, spent + now - last, now
        if step % 50 == 0:
            entry = {
                "step": step,
                "seconds": round(spent),
                "loss": round(total / counted, 4),
                "rate": optimizer.param_groups[0]["lr"],
            }
            print(json.dumps(entry), flush=True)
            with open(options.out / "log.jsonl", "a") as file:
                file.write(json.dumps(entry) + "\n")
            total, counted = 0.0, 0
        if spent - saved > 60 * options.save_minutes:
            save(checkpoint, state_now())
            saved = spent
        if int(before / 60 / options.snapshot_minutes) != int(
            spent / 60 / options.snapshot_minutes
        ):
            save(
                options.out / f"snapshot_{step:06d}.pt",
                {"average": average.state_dict(), "step": step, "seconds": spent},
            )
    save(checkpoint, state_now())
    return step


def main(argv: list[str] | None = None) -> None:
    """Train, or export."""
    options = arguments(argv)
    if options.export:
        net = net_of(
            torch.load(options.out / "checkpoint.pt", map_location="cpu", weights_only=True)[
                "average"
            ]
        )
        if options.export.suffix == ".npz":
            save_weights(net, options.export)
        else:
            export_onnx(net, str(options.export))
    else:
        train(options)


if __name__ == "__main__":
    main()
