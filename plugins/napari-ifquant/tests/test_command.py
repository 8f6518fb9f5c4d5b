"""`ifquant review` from the command line: a window of its own, and a log that is released when it
closes.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from screens import colorful, key, shot


def test_the_command_opens_a_review_and_ends_with_its_window(
    results: Path, viewers: list[Any]
) -> None:
    import napari
    from napari.qt import get_qapp
    from qtpy.QtCore import QTimer
    from typer.testing import CliRunner

    from ifquant.cli import app
    from ifquant.commands.review_log import ReviewLog, read_log
    from napari_ifquant.open_reviews import review_in

    seen: list[Any] = []

    def use() -> None:
        viewer = napari.current_viewer()
        if viewer is None or review_in(viewer) is None:
            return
        timer.stop()
        seen.append(colorful(shot(viewer)))
        key(viewer, "A")
        review = review_in(viewer)
        assert review is not None
        seen.append(review.session.reviewer)
        key(viewer, "S")  # closed in the middle of drawing
        viewer.close()

    app_of_qt = get_qapp()  # timers need it
    timer = QTimer(app_of_qt)
    timer.timeout.connect(use)
    timer.start(100)
    try:
        done = CliRunner().invoke(app, ["review", str(results), "a"])
    finally:
        timer.stop()
        gc.unfreeze()
    assert done.exit_code == 0, done.output
    assert len(seen) == 2, "the window was there and was used"
    assert seen[0] > 0.05
    assert [d.action for d in read_log(results / "a", seen[1]).decisions] == ["accept"]
    ReviewLog(results / "a", seen[1]).close()  # nobody holds it any more
