"""The folder of results, and its only owner: what a run leaves on disk, written and read."""
