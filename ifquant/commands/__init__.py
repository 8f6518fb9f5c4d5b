"""One module for each command, and what belongs to it."""
