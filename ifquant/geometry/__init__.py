"""Windows, runs, regions, coarse masks, points and distances: shapes without stains. Pure."""
