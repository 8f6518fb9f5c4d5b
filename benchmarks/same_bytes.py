"""Exact equality at scale: whatever the tiles and workers, and after any kill, the same bytes.

    python benchmarks/same_bytes.py tilings --size 6144 --log docs/invariance.log
    python benchmarks/same_bytes.py kills --kills 60 --log docs/kill_resume.log

tilings: tile sizes x (serial, 2 processes, Dask) x (classical, unet) on one large slide. Every run
writes its whole output folder, which must be byte-identical to the first of that method (run.json:
its block `execution` and the tile cores aside). The tile cores used must be those of the tile size.
The Dask cluster is a real scheduler and two worker processes on this machine.

kills: two slides, two recipes (one with a gate shared by both slides, so that slides wait for each
other). Ways to die, in turn: SIGKILL before a random change to the disk; SIGKILL to the run and its
workers, to the run alone (its workers must end themselves), to one worker (the run must go on by
itself); and SIGINT as by Ctrl-C. A run is killed up to five times before it may finish.

The first difference, leftover file, orphan or wrong exit code ends the benchmark with an error.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Log, recipe_for
from dask_cluster import cluster
from killed_runs import Request, finish, killed_until_done, start
from outputs_compared import same_outputs
from test_kill_resume import RECIPE
from tissue import PANELS, simulated, write_slide

import ifquant
from ifquant.execution.executors import Execution
from ifquant.geometry.windows import Window, cores
from ifquant.simulation.simulated_slides import simulate_slides

WAYS = (
    ("self", 1),
    ("group", 2),
    ("parent", 2),
    ("worker", 2),
    ("interrupt", 1),
    ("self", 1),
    ("interrupt", 2),
    ("group", 1),
)
"""How a run is killed, and its workers."""
CHANGES = 170
"""About as many changes to the disk as an uninterrupted run makes."""


def tiling(method: str, slide: Path, out: Path, tile: int, more: dict[str, Any]) -> tuple[Any, int]:
    """Run a slide in tiles of a size; its record slide.json and the number of tiles."""
    execution = Execution(tile_size_px=tile, quiet=True, **more)
    result = ifquant.run(recipe_for(method), [slide], out, execution=execution)
    assert result.exit_code == 0, result.summary_lines()
    record = json.loads((out / result.slides[0].name / "slide.json").read_text())
    height, width = record["input"]["shape"][1:]
    used = [Window(*core) for core in result.slides[0].tile_cores]
    assert used == cores((height, width), tile)
    return record, len(used)


def tilings(options: argparse.Namespace, log: Log, root: Path) -> None:
    """Run one slide in every way."""
    slide = options.slide or next(simulate_slides(root / "slide", size=options.size, seed=7))
    (root / "cluster").mkdir()
    with cluster(root / "cluster", workers=2) as dask:
        processes, distributed = {"workers": 2}, {"scheduler": dask.address}
        ways = {"serial": {}, "2 processes": processes, "Dask": distributed}
        for method in options.methods:
            first: Path | None = None
            for tile, (way, more) in ((t, w) for t in options.tiles for w in ways.items()):
                out, began = root / f"{method}_{tile}_{way.split()[0]}", time.monotonic()
                record, n = tiling(method, slide, out, tile, more)
                seconds = time.monotonic() - began
                if first is None:
                    first = out
                    (_, height, width), cells = record["input"]["shape"], record["summary"]
                    log(
                        f"{method}: {height} x {width} px, {cells['n_cells']:,} cells; compared"
                        f" with: tiles of {tile} px, {way}"
                    )
                else:
                    same_outputs(out, first)
                    shutil.rmtree(out)
                log(f"  tiles of {tile:4d} px ({n:3d}), {way:<11}  identical  {seconds:7.1f} s")
    log("every run gave the same bytes")


def kills(options: argparse.Namespace, log: Log, root: Path) -> None:
    """Kill runs until there were enough kills."""
    rng, image, panel = random.Random(options.seed), simulated(320, 480).image, PANELS["tgfb_il1b"]
    slides = [
        write_slide(root / "one.ome.tif", image, panel),
        write_slide(root / "two.ome.tif", image[:, ::-1].copy(), panel),
    ]
    recipes = [root / "own_gates.toml", root / "shared_gate.toml"]
    text = RECIPE.replace("classical", options.methods[0])
    recipes[0].write_text(text)
    recipes[1].write_text(text + "[gates.markers.PanCK]\nshared = true\n")
    for recipe in recipes:
        began = time.monotonic()
        code, said = finish(start(Request(recipe, slides, root / f"whole_{recipe.stem}")))
        assert code == 0, said
        lasts = time.monotonic() - began
    log(
        f"kills {options.kills}, seed {options.seed}, {options.methods[0]}: two slides of 320 x"
        f" 480 px, tiles of 160 px; a run left alone takes {lasts:.1f} s"
    )
    killed = runs = 0
    while killed < options.kills:
        how, workers = WAYS[runs % len(WAYS)]
        recipe = rng.choice(recipes)
        request = Request(recipe, slides, root / f"run_{runs}", workers=workers)
        most = {"kills": rng.randint(1, 5), "lasts_s": lasts, "changes": CHANGES}
        moments = killed_until_done(request, root / f"whole_{recipe.stem}", how, rng, **most)
        runs += 1
        for moment in moments:
            killed += 1
            log(f"{killed:3d}  run {runs} ({recipe.stem}, {workers} worker(s))  {moment}")
        log(f"     run {runs} finished: identical, nothing left over")
    log(f"{killed} kills in {runs} runs; each finished byte-identical to the run left alone")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["tilings", "kills"])
    parser.add_argument("--methods", nargs="*", default=["classical", "unet"])
    parser.add_argument("--size", type=int, default=6144, help="side of the slide in tiles, px")
    parser.add_argument("--tiles", type=int, nargs="*", default=[2048, 512, 1000, 4096])
    parser.add_argument("--slide", type=Path, help="this slide in tiles, not a simulated one")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        part = {"tilings": tilings, "kills": kills}[options.part]
        part(options, Log(options.log), Path(folder))


if __name__ == "__main__":
    main()
