"""From nuclei to cells, and from cells to measurements. Pure."""
