"""The OME-XML of an OME-TIFF, read with the standard library.

DTDs and entities are refused, other files are never followed.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from ifquant.slides.image_reader import Damaged, Unfit, length_um

MAX_XML_CHARS = 64 << 20
_DTYPES = {name: name for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32")} | {
    "bit": "bool",
    "float": "float32",
    "double": "float64",
    "complex": "complex64",
    "double-complex": "complex128",
}


@dataclass(frozen=True)
class OmeChannel:
    """One Channel element; `samples` is SamplesPerPixel where it is stated."""

    name: str | None
    samples: int | None


@dataclass(frozen=True)
class OmeBlock:
    """One TiffData element: `count` planes (None: all left) from page `ifd` on, from (c, z, t)."""

    ifd: int
    first: tuple[int, int, int]
    count: int | None
    file_name: str | None
    uuid: str | None


@dataclass(frozen=True)
class OmeImage:
    """One Image element; `order` is DimensionOrder without XY, fastest first, e.g. CZT."""

    size_x: int
    size_y: int
    size_c: int
    size_z: int
    size_t: int
    order: str
    dtype: str | None
    significant_bits: int | None
    pixel_size_um: tuple[float, float] | None
    channels: tuple[OmeChannel, ...]
    blocks: tuple[OmeBlock, ...]


@dataclass(frozen=True)
class Ome:
    """A whole OME document. `companion`: the metadata live in another file (BinaryOnly)."""

    uuid: str | None
    images: tuple[OmeImage, ...]
    companion: str | None


def parse_xml(text: str) -> ET.Element:
    """Parse XML of unknown origin; `Unfit` if it declares a DTD or entities or is above 64 MiB."""
    if len(text) > MAX_XML_CHARS:
        n_mib, most = len(text) >> 20, MAX_XML_CHARS >> 20
        raise Unfit(f"metadata of {n_mib} MiB of XML; at most {most} MiB are read")
    upper = text.upper()
    if "<!DOCTYPE" in upper or "<!ENTITY" in upper:
        raise Unfit(
            "its XML declares a document type or entities, which image metadata never need; refused"
            " for safety"
        )
    return ET.fromstring(text.strip().strip("\0").lstrip("\ufeff"))


def is_ome(description: str) -> bool:
    """Whether an ImageDescription is OME-XML, whole or cut off."""
    head = description.lstrip("\ufeff \t\r\n")[:4096]
    return head.startswith("<") and ("<OME" in head or ":OME" in head)


def parse_ome(text: str) -> Ome:
    """Read OME-XML of any schema year; `Unfit` if it is broken or lacks what all documents have."""
    try:
        root = parse_xml(text)
    except ET.ParseError as error:
        raise Damaged(
            f"its OME-XML is broken ({error}); the file was cut off or its header is damaged"
        ) from error
    other = _child(root, "BinaryOnly")
    images = tuple(_image(element) for element in root if _tag(element) == "Image")
    if not images and other is None:
        raise Damaged("its OME-XML describes no image")
    companion = None if other is None else other.get("MetadataFile", "another file")
    return Ome(root.get("UUID"), images, companion)


def _image(element: ET.Element) -> OmeImage:
    pixels = _child(element, "Pixels")
    if pixels is None:
        raise Damaged("its OME-XML has an Image without Pixels")
    sizes = {axis: _int(pixels, f"Size{axis}") for axis in "XYCZT"}
    kind = pixels.get("Type") or pixels.get("PixelType") or ""
    x_um, y_um = (
        length_um(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "um"))
        for a in "XY"
    )
    order = pixels.get("DimensionOrder", "XYCZT").replace("X", "").replace("Y", "")
    if sorted(order) != ["C", "T", "Z"]:
        raise Damaged(
            f"its OME-XML has the impossible DimensionOrder {pixels.get('DimensionOrder')!r}"
        )
    bits = pixels.get("SignificantBits")
    return OmeImage(
        size_x=sizes["X"],
        size_y=sizes["Y"],
        size_c=sizes["C"],
        size_z=sizes["Z"],
        size_t=sizes["T"],
        order=order,
        dtype=_DTYPES.get(kind.lower()),
        significant_bits=int(bits) if bits and bits.isdecimal() else None,
        pixel_size_um=(x_um, y_um) if x_um and y_um else None,
        channels=tuple(_channel(child) for child in pixels if _tag(child) == "Channel"),
        blocks=tuple(_block(child) for child in pixels if _tag(child) == "TiffData"),
    )


def _channel(element: ET.Element) -> OmeChannel:
    samples = element.get("SamplesPerPixel")
    name = element.get("Name") or element.get("Fluor")
    return OmeChannel(
        name.strip() if name and name.strip() else None,
        int(samples) if samples and samples.isdecimal() else None,
    )


def _block(element: ET.Element) -> OmeBlock:
    uuid = _child(element, "UUID")
    key = next((key for key in ("PlaneCount", "NumPlanes") if element.get(key)), None)
    implied = None if element.get("IFD") is None else 1
    return OmeBlock(
        ifd=_int(element, "IFD", 0),
        first=(_int(element, "FirstC", 0), _int(element, "FirstZ", 0), _int(element, "FirstT", 0)),
        count=implied if key is None else _int(element, key),
        file_name=None if uuid is None else uuid.get("FileName"),
        uuid=None if uuid is None else (uuid.text or "").strip() or None,
    )


def _int(element: ET.Element, key: str, default: int | None = None) -> int:
    text = element.get(key)
    if text is None and default is not None:
        return default
    try:
        value = int(text or "")
    except ValueError:
        raise Damaged(
            f"its OME-XML has {_tag(element)} {key}={text!r}, which is not a whole number"
        ) from None
    if value < 0:
        raise Damaged(f"its OME-XML has {_tag(element)} {key}={text!r}, which is negative")
    return value


def _tag(element: ET.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _child(element: ET.Element, tag: str) -> ET.Element | None:
    return next((child for child in element if _tag(child) == tag), None)
