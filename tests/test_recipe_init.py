"""`ifquant init`: role guesses, a template that reads back, marker files as people write them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifquant.errors import RequestError
from ifquant.recipe.defaults import resolved
from ifquant.recipe.markers_csv import read_markers
from ifquant.recipe.model import Channel, Recipe
from ifquant.recipe.recipe_file import parse_recipe
from ifquant.recipe.role_guess import guess_roles
from ifquant.recipe.template import recipe_template

PANEL = ["DAPI", "PanCK", "CD11c", "TGFB1", "IL1B"]


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (
            [
                "DAPI",
                "DAPI_01",
                "Hoechst 33342",
                "DNA1",
                "DNA_2",
                "dsDNA",
                "DRAQ5",
                "SYTO13",
                "HH3",
                "nuclei",
                "01_DAPI",
            ],
            "nucleus",
        ),
        (
            [
                "PanCK",
                "pan-CK",
                "Pan-Cytokeratin",
                "CK",
                "CK8",
                "CK8/18",
                "Cytokeratin 19",
                "KRT5",
                "AE1/AE3",
                "EpCAM",
            ],
            "tumor",
        ),
        (["E-cadherin", "PanKRT", "CK-EPCAM", "PanCK (Opal 690)", "Cy5-PanCK", "SOX10"], "tumor"),
        (
            [
                "CD11c",
                "CD68",
                "CD163",
                "HLA-DR",
                "HLADR",
                "CD14",
                "CD11b",
                "Iba1",
                "CD206",
                "F4/80",
                "CD68 (Opal 520)",
            ],
            "myeloid",
        ),
        (
            [
                "AF",
                "Sample AF",
                "Autofluorescence",
                "Empty",
                "Blank 2",
                "background",
                "AutofluorescenceGreen",
            ],
            "background",
        ),
        (
            [
                "CD8a",
                "PD-L1",
                "TGFB1",
                "IL1B",
                "c-Kit",
                "AF488",
                "H3K27ac",
                "N-cadherin",
                "FoxP3",
                "CD3",
                "Ki67",
                "",
            ],
            "marker",
        ),
    ],
)
def test_role_of_a_name(names: list[str], role: str) -> None:
    assert {name: guess_roles([name])[0].role for name in names} == dict.fromkeys(names, role)


@pytest.mark.parametrize(
    ("name", "compartment"),
    [
        ("TGFb", "membrane"),
        ("TGF-β1", "membrane"),
        ("TGF beta", "membrane"),
        ("IL1b", "cytoplasm"),
        ("IL-1β", "cytoplasm"),
        ("CD8", None),
    ],
)
def test_compartment_of_a_name(name: str, compartment: str | None) -> None:
    assert guess_roles([name])[0].compartment == compartment


def test_only_the_first_of_each_role() -> None:
    guesses = guess_roles(["DNA1", "CD68", "CD11c", "PanCK", "EpCAM", "DNA2", "AF1", "AF"])
    assert [guess.role for guess in guesses] == [
        "nucleus",
        "myeloid",
        "marker",
        "tumor",
        "marker",
        "ignore",
        "marker",
        "background",
    ]
    assert "'CD68' has the role" in guesses[2].why


def uncommented(text: str) -> str:
    """The template with every default switched on."""
    return "\n".join(re.sub(r"^#(?=[\w\"\[][^#]*[=\]])", "", line) for line in text.splitlines())


def test_template_is_the_design_s_recipe() -> None:
    text = recipe_template(PANEL, source="slide.ome.tif")
    assert "slide.ome.tif" in text.splitlines()[0]
    assert max(map(len, text.splitlines())) <= 180
    expected = Recipe(
        channels=(
            Channel(name="DAPI", role="nucleus"),
            Channel(name="PanCK", role="tumor"),
            Channel(name="CD11c", role="myeloid"),
            Channel(name="TGFB1", compartment="membrane"),
            Channel(name="IL1B", compartment="cytoplasm"),
        )
    )
    assert resolved(parse_recipe(text)) == resolved(expected)


def test_template_shows_every_setting_at_its_default() -> None:
    text = recipe_template(PANEL)
    shown = tomllib.loads(uncommented(text))
    plain = resolved(parse_recipe(text)).model_dump(mode="json", by_alias=True)
    for name, section in plain.items():
        if name in ("channels", "seed", "gates", "picture", "priming", "table"):
            continue
        assert set(shown[name]) == set(section), name
        for key, value in section.items():
            if value is not None and key not in ("thresholds",):
                assert shown[name][key] == value, f"{name}.{key}"
    assert plain["priming"] is None, "statistics run only where the recipe asks"
    asked = resolved(parse_recipe(text + '\n[priming]\nresponse = "IL1B"\nligand = "TGFB1"\n'))
    assert asked.priming is not None
    assert shown["priming"] == asked.priming.model_dump(mode="json")
    assert set(shown["gates"]["default"]) == set(plain["gates"]["default"])
    assert set(shown["picture"]) == set(plain["picture"])
    resolved(
        parse_recipe({**shown, "segmentation": {}, "gates": {"markers": shown["gates"]["markers"]}})
    )


def test_template_without_a_nuclear_stain_says_so() -> None:
    text = recipe_template(["PanCK"])
    assert "NO nuclear stain" in text
    tomllib.loads(text)


@given(names=st.lists(st.text(max_size=70), max_size=5))
@settings(deadline=None, max_examples=30)
def test_template_reads_back_for_any_names(names: list[str]) -> None:
    recipe = parse_recipe(recipe_template(["DAPI", *names], source="".join(names)))
    assert len(recipe.channels) == len(names) + 1
    for i, (channel, name) in enumerate(zip(recipe.channels[1:], names, strict=True), 1):
        assert channel.name == name.strip() or channel.index == i  # found by name, or by its place


# ---------------------------------------------------------------- marker files


def read(tmp_path: Path, content: str | bytes) -> list[tuple[str, str | None]]:
    path = tmp_path / "markers.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(str(marker), marker.role) for marker in read_markers(path)]


NF_CORE = "channel_number,cycle_number,marker_name\n1,1,DNA_1\n2,1,PanCK\n3,1,CD11c\n"
THREE = [("DNA_1", None), ("PanCK", None), ("CD11c", None)]


@pytest.mark.parametrize(
    "content",
    [
        NF_CORE,
        NF_CORE.replace("\n", "\r\n"),
        NF_CORE.rstrip(),
        NF_CORE.replace(",", ";"),
        NF_CORE.replace(",", "\t"),
        NF_CORE.replace(",", " , "),
        NF_CORE.replace("marker_name", "Marker Name"),
        NF_CORE.replace("DNA_1", '"DNA_1"'),
        "\ufeff" + NF_CORE,
        NF_CORE.encode("utf-16"),
        NF_CORE + "\n,,\n\n",
        "cycle,marker_name\n1,DNA_1\n1,PanCK\n2,CD11c\n",
        "marker_name\nDNA_1\nPanCK\nCD11c\n",
        "DNA_1\n PanCK\nCD11c \n",  # legacy: one column, no header
        # any order of rows
        "channel_number,cycle_number,marker_name\n2,1,PanCK\n1,1,DNA_1\n3,2,CD11c\n",
        # numbers start again in every cycle
        "channel_number,cycle_number,marker_name\n1,2,CD11c\n2,1,PanCK\n1,1,DNA_1\n",
        "channel_number;cycle_number;marker_name;Filter;excitation_wavelength\n1;1;DNA_1;a;1\n2;1;PanCK;;\n3;1;CD11c\n",
    ],
)
def test_marker_file(tmp_path: Path, content: str | bytes) -> None:
    assert read(tmp_path, content) == THREE


def test_remove_background_keep(tmp_path: Path) -> None:
    text = (
        "channel_number,cycle_number,marker_name,background,exposure,remove\n"
        "1,1,DNA_1,,100,\n2,1,AF488,,100,TRUE\n3,1,PanCK,AF488,50,\n"
    )
    assert read(tmp_path, text) == [("DNA_1", None), ("AF488", "background"), ("PanCK", None)]
    text = "marker_name,remove\nDNA_1,\nDNA_2,yes\nCD11c,FALSE\n"
    assert read(tmp_path, text) == [("DNA_1", None), ("DNA_2", "ignore"), ("CD11c", None)]
    # steinbock
    text = "channel,name,keep,ilastik,deepcell,cellpose\nIr191,DNA1,1,1,1,1\nY89,CD45,0,,,\n"
    assert read(tmp_path, text) == [("DNA1", None), ("CD45", "ignore")]
    text = "marker_name,background\nDNA_1,FALSE\nAF,TRUE\n"  # before 2023
    assert read(tmp_path, text) == [("DNA_1", None), ("AF", "background")]


def test_roles_of_the_file_reach_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "markers.csv"
    path.write_text("marker_name,background,remove\nDNA_1,,\nA488,,\nPanCK,A488,\nDNA_2,,true\n")
    recipe = parse_recipe(recipe_template(read_markers(path), source=path.name))
    assert [channel.role for channel in recipe.channels] == [
        "nucleus",
        "background",
        "tumor",
        "ignore",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n\n;;\n", "empty"),
        ("a,b\n1,2\n", "expected one called marker_name"),
        ("marker_name\n", "no marker below"),
        ("marker_name,cycle\nDNA,1\n,2\n", "line 3: the marker has no name"),
        ("marker_name\nDNA\ndna\n", "line 3: 'dna' is already the name in line 2"),
        (
            "channel_number,marker_name\none,DNA\n",
            "line 2: channel_number is 'one', expected a whole number",
        ),
        (
            "channel_number,marker_name\n1,DNA\n1,CD8\n",
            "line 3: channel number 1 is already that of line 2",
        ),
        ("marker_name,remove\nDNA,maybe\n", "line 2: remove is 'maybe'"),
        (
            "marker_name,background\nDNA,AFF\nAF,\n",
            "line 2: background 'AFF' is no marker of this file; did you mean 'AF'",
        ),
        ("marker_name,cycle\nDNA,1,CD8\n", "line 2: 3 fields, expected 2"),
        (b"\x89PNG\r\n\x00\x00\x00", "not a text file"),
        ("marker_name\n" + "x" * 65, "no usable name"),
    ],
)
def test_refused_marker_file(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        read(tmp_path, content)


def test_all_problems_of_a_marker_file_at_once(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="3 problems") as caught:
        read(tmp_path, "channel_number,marker_name,remove\nx,DNA,\n2,DNA,perhaps\n")
    assert len(str(caught.value).splitlines()) == 4


def test_missing_and_huge_marker_files(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        read_markers(tmp_path / "none.csv")
    path = tmp_path / "big.csv"
    path.write_bytes(b"a" * 1_000_001)
    with pytest.raises(RequestError, match="at most"):
        read_markers(path)


@given(content=st.binary(max_size=60))
@settings(deadline=None, max_examples=30)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.csv"
    path.write_bytes(content)
    try:
        names = read_markers(path)
    except RequestError:
        return
    assert all(names)
