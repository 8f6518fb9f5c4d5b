"""Kill real runs at many random moments, resume them, and compare every byte with a run that was
left alone.

    python benchmarks/kill_resume.py --kills 60 --log docs/kill_resume.log

Two slides, two recipes (one with a gate shared by both slides, so that slides wait for each other).
Ways to die, in turn: SIGKILL before a random change to the disk; SIGKILL to the run and its
workers, to the run alone (its workers must end themselves), to one worker (the run must go on by
itself); and SIGINT as by Ctrl-C. A run is killed up to five times before it may finish. The first
difference, leftover file, orphan or wrong exit code ends the benchmark with an error.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from killed_runs import Request, finish, killed_until_done, start  # noqa: E402
from tissue import PANELS, simulated, write_slide  # noqa: E402

RECIPE = """
[[channels]]
name = "DAPI"
role = "nucleus"
[[channels]]
name = "PanCK"
role = "tumor"
[[channels]]
name = "CD11c"
role = "myeloid"
[segmentation]
method = "{method}"
[phenotypes]
tumor = "PanCK+"
"""
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
CHANGES = 170
"""About as many changes to the disk as an uninterrupted run makes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--method", default="classical")
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        if options.log:
            options.log.write_text("\n".join(lines) + "\n")

    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = simulated(320, 480).image
        slides = [write_slide(folder / "one.ome.tif", image, PANELS["tgfb_il1b"])]
        slides.append(
            write_slide(folder / "two.ome.tif", image[:, ::-1].copy(), PANELS["tgfb_il1b"])
        )
        recipes = [folder / "own_gates.toml", folder / "shared_gate.toml"]
        recipes[0].write_text(RECIPE.format(method=options.method))
        recipes[1].write_text(
            RECIPE.format(method=options.method) + "[gates.markers.PanCK]\nshared = true\n"
        )
        lasts = 0.0
        for recipe in recipes:
            began = time.monotonic()
            code, said = finish(start(Request(recipe, slides, folder / f"whole_{recipe.stem}")))
            assert code == 0, said
            lasts = time.monotonic() - began
        command = (
            f"python benchmarks/kill_resume.py --kills {options.kills} --seed {options.seed}"
            f" --method {options.method}"
        )
        say(
            f"{command}: two slides of 320 x 480 px, tiles of 160 px; a run left alone takes"
            f" {lasts:.1f} s"
        )
        killed = runs = 0
        while killed < options.kills:
            how, workers = WAYS[runs % len(WAYS)]
            recipe = rng.choice(recipes)
            request = Request(recipe, slides, folder / f"run_{runs}", workers=workers)
            kills = rng.randint(1, 5)
            moments = killed_until_done(
                request,
                folder / f"whole_{recipe.stem}",
                how,
                rng,
                kills=kills,
                lasts_s=lasts,
                changes=CHANGES,
            )
            runs += 1
            for moment in moments:
                killed += 1
                say(f"{killed:3d}  run {runs} ({recipe.stem}, {workers} worker(s))  {moment}")
            say(f"     run {runs} finished: identical, nothing left over")
        say(
            f"{killed} kills in {runs} runs; {runs} of {runs} finished byte-identical to the run"
            " left alone (run.json's execution aside)"
        )


if __name__ == "__main__":
    main()
