"""``python -m napari_ifquant.run_child ARGUMENTS``: ifquant with progress for a progress bar."""

from __future__ import annotations

from ifquant.cli import main
from ifquant.execution import progress

HEARTBEAT_S = 0.5

if __name__ == "__main__":
    progress.HEARTBEAT_S = HEARTBEAT_S
    main()
