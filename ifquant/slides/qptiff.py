"""Akoya/PerkinElmer QPTIFF: channel names and image kinds from the XML of each page."""

from __future__ import annotations

from collections.abc import Sequence

from ifquant.slides.image import Damaged
from ifquant.slides.ome_xml import parse_xml
from ifquant.slides.tiff_page import Layout, Page, Plane, resolution_um, same_kind


def qptiff_layout(pages: Sequence[Page]) -> Layout:
    """Akoya/PerkinElmer QPTIFF: the full-resolution pages carry XML with <Biomarker> or <Name>; previews and pyramid follow."""
    used: list[Page] = []
    names: list[str | None] = []
    for page in pages:
        try:
            root = parse_xml(page.description)
        except ValueError:
            raise
        except Exception as error:
            raise Damaged(f"page {page.index + 1} has broken QPTIFF metadata ({error})") from error
        kind = (root.findtext("ImageType") or "").strip()
        if kind and kind != "FullResolution":
            continue
        if not kind and used and not same_kind(page, used[0]):
            continue
        used.append(page)
        names.append((root.findtext("Biomarker") or "").strip() or (root.findtext("Name") or "").strip() or None)
    if not used:
        raise Damaged("it calls itself QPTIFF but holds no full-resolution page")
    if any(not same_kind(page, used[0]) for page in used):
        raise Damaged("its full-resolution pages differ in size or type")
    planes = tuple((Plane(page.index, sample),) for page in used for sample in range(page.samples))
    size = resolution_um(used[0])
    smaller = {(page.height, page.width) for page in pages if page.reduced and page.samples == used[0].samples}
    return Layout(
        format="QPTIFF",
        planes=planes,
        names=tuple(name for name, page in zip(names, used, strict=True) for _ in range(page.samples)),
        pixel_size_um=size,
        pixel_size_origin="qpi" if size else "none",
        levels=1 + len(smaller - {(used[0].height, used[0].width)}),
    )
