from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ifquant.cells.growth import numbered_by_anchor
from ifquant.errors import TileError
from ifquant.geometry.runs import anchors, paint, runs_of
from ifquant.geometry.windows import Window, cores
from ifquant.pipeline import tile_parts as stored
from ifquant.pipeline.slide_assembly import assemble
from ifquant.pipeline.tile_parts import TilePart


def test_maps_come_back_and_damage_is_noticed(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).integers(0, 256, (2, 70, 90)).astype(np.uint8)
    maps[:, 20:] = 0
    path = tmp_path / "0_0.npz"
    stored.save(path, maps)
    np.testing.assert_array_equal(stored.load(path), maps)
    stored.save(tmp_path / "0_64.npz", maps.astype(np.int32) * 1000)
    np.testing.assert_array_equal(stored.load(tmp_path / "0_64.npz"), maps.astype(np.int32) * 1000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    stored.load.cache_clear()
    with pytest.raises(Exception, match=r"CRC|decode|corrupt|zstd"):
        stored.load(path)


def part_of(labels: np.ndarray, core: Window, rng: np.random.Generator) -> TilePart:
    """Part of the objects of a label image whose first pixel lies in a core; a column that says
    which is which.
    """
    every = anchors(labels)
    ids = np.array([i + 1 for i, (y, x) in enumerate(every) if core.contains(y, x)], np.int32)
    rng.shuffle(ids)
    y, x = every[ids - 1].T.astype(np.int32)
    runs = runs_of(labels, ids)
    table = {"anchor_y_px": y, "anchor_x_px": x, "id": ids} if len(ids) else {}
    return TilePart(core, table, runs.take(np.arange(0, len(ids))), runs, 3)


def test_parts_in_any_order_give_the_table_in_raster_order_of_anchors(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    labels, _ = numbered_by_anchor(
        np.kron(rng.permutation(12 * 15).reshape(12, 15), np.ones((5, 4), np.int32))
    )
    tiles = [
        part_of(labels, core, rng)
        for core in [*cores(labels.shape, 64), Window(500, 500, 600, 600)]
    ]
    for _ in range(3):
        whole = assemble([tiles[i] for i in rng.permutation(len(tiles))], tmp_path)
        n = len(whole.table["id"])
        assert n == labels.max()
        assert whole.table["id"].tolist() == list(range(1, n + 1))
        assert whole.orphan_px == 3 * len(tiles)
        for runs in (whole.nuclei, whole.cells):
            np.testing.assert_array_equal(
                paint(runs, np.arange(1, n + 1), Window(0, 0, *labels.shape)), labels
            )
    with pytest.raises(TileError, match="two tiles own the same cell"):
        assemble([tiles[0], tiles[0]], tmp_path)
    nothing = assemble([TilePart.empty(Window(0, 0, 64, 64))], tmp_path)
    assert (nothing.table, len(nothing.cells)) == ({}, 0)
