"""Every change on disk: whole or absent, flushed, verified; the lock of a run; tables."""
