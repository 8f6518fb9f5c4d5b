"""Keys of the review: the one list from which they are bound, shown on screen and printed in the README."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """One action of the review: its keys (the first is shown), what it does, and the method of `Desk` with its arguments."""

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
    Key(("X",), "exclude: artefact", "exclude", ("artefact",)),
    Key(("F",), "exclude: fold", "exclude", ("fold",)),
    Key(("O",), "exclude: out of focus", "exclude", ("out of focus",)),
    Key(("T",), "pair does not touch", "not_touching"),
    Key(("K",), "other neighbour", "other_partner"),
    Key(("M",), "merge the pair", "merge"),
    Key(("S",), "split: show the cut, then do it", "split"),
    Key(("R",), "redraw: paint, then keep it", "redraw"),
    Key(("E",), "exclude a region: draw, then do it", "exclude_region"),
    Key(("-",), "turn the cut left, shrink the outline", "adjust", (-1,)),
    Key(("=",), "turn the cut right, grow the outline", "adjust", (1,)),
    Key(("Escape",), "leave split, redraw, region", "cancel"),
    Key(("C",), "note", "ask_note"),
    Key(("U", "Control-Z"), "undo", "undo"),
    Key(("Y", "Control-Shift-Z"), "redo", "redo"),
    Key(("H",), "outlines on or off", "toggle_outlines"),
)


def help_text(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Key and meaning of every action on a slide with these phenotypes."""
    lines = []
    for key in KEYS:
        if key.method == "change_phenotype":
            number = int(key.keys[0])
            if number > len(names):
                continue
            lines.append((key.keys[0], names[number - 1]))
        else:
            lines.append((" ".join(key.keys), key.text))
    return lines
