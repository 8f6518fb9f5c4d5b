"""Exact equality at scale: tile sizes x (serial, 2 processes, Dask) x (classical, unet) on one
large slide.

    python benchmarks/invariance.py --size 6144 --log docs/invariance.log

Every run writes its whole output folder, which must be byte-identical to the first of that method
(run.json: its block `execution` and the tile cores aside). The tile cores used must be those asked
for. The Dask cluster is a real scheduler and two worker processes on this machine. Prints wall
seconds per run; a difference ends the benchmark with an error.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from dask_cluster import cluster  # noqa: E402
from outputs_compared import same_outputs  # noqa: E402
from pipeline import recipe_for  # noqa: E402

import ifquant  # noqa: E402
from ifquant.execution.executors import Execution  # noqa: E402
from ifquant.geometry.windows import Window, cores  # noqa: E402
from ifquant.simulation.simulated_slides import simulate_slides  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=6144)
    parser.add_argument("--tiles", type=int, nargs="*", default=[2048, 512, 1000, 4096])
    parser.add_argument("--methods", nargs="*", default=["classical", "unet"])
    parser.add_argument(
        "--slide",
        type=Path,
        help="this slide (five channels as simulated) instead of simulating one",
    )
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        if options.log:
            options.log.write_text("\n".join(lines) + "\n")

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        slide = options.slide or next(
            iter(simulate_slides(root / "slide", n=1, size=options.size, seed=7))
        )
        (root / "cluster").mkdir()
        with cluster(root / "cluster", workers=2) as dask:
            ways = {
                "serial": {},
                "2 processes": {"workers": 2},
                "Dask": {"scheduler": dask.address},
            }
            for method in options.methods:
                first: Path | None = None
                for tile in options.tiles:
                    for way, more in ways.items():
                        out = root / f"{method}_{tile}_{way.split()[0]}"
                        began = time.monotonic()
                        result = ifquant.run(
                            recipe_for(method),
                            [slide],
                            out,
                            execution=Execution(tile_size_px=tile, quiet=True, **more),
                        )
                        assert result.exit_code == 0, result.summary_lines()
                        seconds = time.monotonic() - began
                        record = json.loads(
                            (out / result.slides[0].name / "slide.json").read_text()
                        )
                        height, width = record["input"]["shape"][1:]
                        used = [Window(*core) for core in result.slides[0].tile_cores]
                        assert used == cores((height, width), tile)
                        if first is None:
                            first = out
                            n = record["summary"]["n_cells"]
                            say(
                                f"{method}: {height} x {width} px, {n:,} cells; compared with:"
                                f" tiles of {tile} px, {way}"
                            )
                        else:
                            same_outputs(out, first)
                        say(
                            f"  tiles of {tile:4d} px ({len(used):3d}), {way:<11}  identical "
                            f" {seconds:7.1f} s"
                        )
                        if out != first:
                            shutil.rmtree(out)
    say("every run gave the same bytes")


if __name__ == "__main__":
    main()
