"""Values all packages share: windows and cores, runs, the registry of columns and flags, digests."""
