"""Pin what users see: the main outputs on both panels, before and after a change that is meant to
change nothing.

    python tools/golden.py --write before.json                # of the code in this folder
    python tools/golden.py --against HEAD~3   # that revision's and this folder's

Scenes (tests/golden_scenes.py of each revision makes them): the examples, both panels, a priming
cohort with its analysis, a table of another program, a review applied. CPU seconds and memory of
each are printed side by side. Compared by content: tables with their Parquet metadata, label
images, every number and word of JSON, CSV and HTML. Left out: versions, times, memory, hosts,
paths, and what packs content (Zarr and ZIP containers).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = ("versions", "execution", "models", "recipe_digest", "digests")
"""Keys of JSON that say with what and when, not what."""
SCENES = ("examples", "panels", "cohort", "foreign", "review")


def main() -> None:
    """Write the digests of this code, or compare those of two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="file of digests to write")
    parser.add_argument("--against", help="revision to compare this code with")
    parser.add_argument("--scene", action="append", choices=SCENES, help="only these scenes")
    options = parser.parse_args()
    scenes = tuple(options.scene or SCENES)
    if options.write is not None:
        options.write.write_text(json.dumps(made_by(ROOT, scenes), indent=1, sort_keys=True))
        return
    if options.against is None:
        parser.error("give --write FILE or --against REVISION")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", tree, options.against],
            check=True,
        )
        try:
            before, after = made_by(tree, scenes), made_by(ROOT, scenes)
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)
    differing = sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    for name in differing:
        print(
            f"differs: {name}"
            if name in before and name in after
            else f"only {'before' if name in before else 'after'}: {name}"
        )
    print(f"{len(before)} outputs before, {len(after)} after, {len(differing)} differ")
    sys.exit(1 if differing else 0)


def made_by(tree: Path, scenes: tuple[str, ...]) -> dict[str, str]:
    """Return digests of all outputs of the code in a folder; each scene is made by a process of its
    own.
    """
    paths = os.pathsep.join(map(str, (tree, tree / "tests")))
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for scene in scenes:
            out = Path(folder) / "out" / scene
            for part in ("inputs", "outputs"):
                code = f"import sys, golden_scenes; golden_scenes.{part}(sys.argv[1], sys.argv[2])"
                with subprocess.Popen(
                    [sys.executable, "-c", code, scene, str(out)], env=environment, cwd=tree
                ) as child:
                    _, status, used = os.wait4(child.pid, 0)
                    child.returncode = os.waitstatus_to_exitcode(status)
                if child.returncode:
                    raise SystemExit(f"{tree}: scene {scene} failed")
            print(
                f"{tree.name:>8} {scene:<10} {used.ru_utime + used.ru_stime:7.1f} CPU s"
                f" {used.ru_maxrss / 1024:8.0f} MB",
                flush=True,
            )
            paths_made = (
                path for path in sorted(out.rglob("*")) if path.is_file() and wanted(path)
            )
            found |= {
                f"{scene}/{path.relative_to(out).as_posix()}": digest(path) for path in paths_made
            }
    return found


def wanted(path: Path) -> bool:
    """Whether a file is an output, not an input or a container of what is compared elsewhere."""
    return (
        not path.name.startswith(".")
        and "inputs" not in path.parts
        and ".zarr" not in path.as_posix()
    )


# ---- what is compared ----------------------------------------------------------------------------


def digest(path: Path) -> str:
    """Return the digest of a file's content, less what may differ."""
    if path.suffix == ".parquet":
        return sha256(parquet_text(path))
    if path.suffix == ".json":
        return sha256(json.dumps(plain(json.loads(path.read_text("utf-8"))), sort_keys=True))
    if path.suffix in (".csv", ".html", ".svg", ".txt", ".jsonl"):
        return sha256(words(path.read_text("utf-8")))
    return sha256(path.read_bytes())


def sha256(content: str | bytes) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def words(text: str) -> str:
    """Return text less versions, times and temporary paths."""
    text = re.sub(r"/tmp/[^\s\"'<>,]*?/(out|tree)", "TMP", text)
    text = re.sub(r"\b\d+\.\d+\.\d+(?:[.+\w]*)\b", "VERSION", text)
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?", "TIME", text)


def plain(value: Any) -> Any:
    """Return JSON without keys that may differ."""
    if isinstance(value, dict):
        return {
            key: plain(item)
            for key, item in value.items()
            if key not in LEFT_OUT and not key.endswith("sha256")
        }
    if isinstance(value, list):
        return [plain(item) for item in value]
    return words(value) if isinstance(value, str) else value


def parquet_text(path: Path) -> str:
    """Write out schema, metadata of file and columns, and a digest of the values of a Parquet
    file.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    kept = {
        key.decode(): value.decode()
        for key, value in (table.schema.metadata or {}).items()
        if key != b"pandas"
    }
    fields = [
        (f.name, str(f.type), {k.decode(): v.decode() for k, v in (f.metadata or {}).items()})
        for f in table.schema
    ]
    values = hashlib.sha256()
    for column in table.columns:
        values.update(repr(column.to_pylist()).encode())
    return json.dumps([kept, fields, values.hexdigest()], sort_keys=True)


if __name__ == "__main__":
    main()
