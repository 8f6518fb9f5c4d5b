"""Keys of the review: the one list from which they are bound, shown on screen and printed in the
README.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """One action of the review: its keys (the first is shown), what it does, and the method of
    `Desk` with its arguments.
    """

    keys: tuple[str, ...]
    text: str
    method: str
    arguments: tuple[object, ...] = ()


PHENOTYPES = tuple(Key((str(n),), f"phenotype {n}", "change_phenotype", (n,)) for n in range(1, 10))
KEYS = (
    Key(("N", "Right"), "next", "next"),
    Key(("P", "Left"), "previous", "previous"),
    Key(("G",), "next undecided", "next_open"),
    Key(("A",), "accept", "accept"),
    *PHENOTYPES,
    Key(("X",), "artefact", "exclude", ("artefact",)),
    Key(("F",), "fold", "exclude", ("fold",)),
    Key(("O",), "out of focus", "exclude", ("out of focus",)),
    Key(("T",), "not touching", "not_touching"),
    Key(("K",), "other neighbor", "other_partner"),
    Key(("M",), "merge the pair", "merge"),
    Key(("S",), "split (twice)", "split"),
    Key(("R",), "redraw (twice)", "redraw"),
    Key(("E",), "exclude region (twice)", "exclude_region"),
    Key(("-",), "turn left, shrink", "adjust", (-1,)),
    Key(("=",), "turn right, grow", "adjust", (1,)),
    Key(("Escape",), "leave drawing", "cancel"),
    Key(("C",), "note", "ask_note"),
    Key(("U", "Control-Z"), "undo", "undo"),
    Key(("Y", "Control-Shift-Z"), "redo", "redo"),
    Key(("H",), "outlines", "toggle_outlines"),
)


def help_text(
    names: tuple[str, ...], methods: tuple[str, ...] | None = None
) -> list[tuple[str, str]]:
    """Key and meaning of every action on a slide with these phenotypes, or of those of some
    methods.
    """
    lines = []
    for key in KEYS:
        if methods is not None and key.method not in methods:
            continue
        if key.method == "change_phenotype":
            number = int(key.keys[0])
            if number > len(names):
                continue
            lines.append((key.keys[0], names[number - 1]))
        else:
            lines.append((key.keys[0], key.text))
    return lines
