from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ifquant.pipeline import maps as stored


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
