"""A whole review in the window, from the raw slide to a changed number: a slide large enough that
its priming effect is testable.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from screens import colorful, key, shot, wait

SIDE_PX = 1200
PRIMING = {"response": "IL1B", "ligand": "TGFB1"}
"""With all demands of a recipe that says no more: 60 myeloid cells in contact, 100 usable
shifts."""
LEFT_OUT = 3


@pytest.fixture(scope="module")
def primed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run on a slide with an effect and contacts enough to test it."""
    from reviewing import run_slide

    return run_slide(
        tmp_path_factory.mktemp("primed"),
        seed=3,
        size=(SIDE_PX, SIDE_PX),
        effect=0.6,
        priming=PRIMING,
    )


def test_excluding_those_who_carry_the_effect_changes_the_tested_number(
    primed: Path, tmp_path: Path, viewers: list[Any]
) -> None:
    from ifquant.commands.review_effect import (
        LEVERAGE,
        REASON,
        VERDICT,
        leverage_column,
        slide_effect,
    )
    from ifquant.commands.review_log import read_log
    from ifquant.results.run_record import run_recipe
    from napari_ifquant.launch import open_review

    results = Path(shutil.copytree(primed, tmp_path / "results"))
    viewer, widget = open_review(results)
    viewers.append(viewer)
    form = widget.choice.form
    form.order.setCurrentText("by a column")
    form.sort_by.setCurrentText(LEVERAGE)
    form.descending.setChecked(True)
    widget.start()
    review = widget.review
    weight = leverage_column(results / "a", run_recipe(results))
    assert weight is not None
    heaviest = [
        int(i) for i in review.view.subject.ids[np.argsort(np.nan_to_num(-weight))][:LEFT_OUT]
    ]
    assert [int(i) for i in review.queue.ids[:LEFT_OUT]] == heaviest, (
        "first those who add most to the effect"
    )
    assert colorful(shot(viewer)) > 0.05
    for cell_id in heaviest:
        assert review.cell_id == cell_id
        key(viewer, "X")
    reviewer = review.session.reviewer
    widget.close_review()
    viewer.close()
    viewers.remove(viewer)

    viewer, widget = open_review(results)  # a day later
    viewers.append(viewer)
    assert [d.action for d in widget.review.session.decisions] == ["exclude"] * LEFT_OUT
    widget.close_review()
    assert [d.cell.cell_id for d in read_log(results / "a", reviewer).decisions] == heaviest  # type: ignore[union-attr]
    widget.apply()
    wait(lambda: widget.choice.apply_button.isEnabled())

    before, after = (
        slide_effect(folder, run_recipe(results))
        for folder in (results / "a", results / "a" / "reviewed")
    )
    assert before is not None
    assert after is not None
    assert before.p is not None
    assert after.p is not None
    assert after.n_exposed == before.n_exposed - LEFT_OUT
    assert (
        before.z - after.z > 0.5 * np.sort(weight[np.isfinite(weight)])[-LEFT_OUT:].sum() > 0
    )  # as leave-one-out says
    assert before.reason.startswith("partial rank correlation"), before.reason
    assert _number(before.reason) != _number(after.reason)
    said, page = widget.message.text(), (results / "review.html").read_text()
    for word, effect in (("before", before), ("after", after)):
        assert f"{word} review: {effect.reason}" in said
        assert effect.reason in page
    rows = pd.read_csv(results / "review.csv").set_index("number")
    assert rows.loc[[VERDICT, REASON], "before"].tolist() == [before.verdict, before.reason]
    assert rows.loc[[VERDICT, REASON], "after"].tolist() == [after.verdict, after.reason]
    assert float(rows.loc["priming: Fisher z", "after"]) == after.z != before.z


def _number(reason: str) -> str:
    """First number with decimals of the answer in words."""
    found = re.search(r"-?\d*\.\d+", reason)
    assert found is not None, reason
    return found.group()
