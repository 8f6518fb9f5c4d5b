"""The recipe: what is read, what is refused (everything at once, at its place), overrides, resolved
defaults, canonical form, schema.
"""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifquant import provenance
from ifquant.columns.cell_columns import cell_columns, gated_markers, proximity_pair
from ifquant.errors import RecipeError, RequestError
from ifquant.recipe.defaults import COLORS, ResolvedRecipe, gated, resolved
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import (
    canonical,
    load_recipe,
    parse_recipe,
    recipe_schema,
)

DESIGN = """
[[channels]]
name = "DAPI"
role = "nucleus"
aliases = ["Hoechst"]
[[channels]]
name = "PanCK"
role = "tumor"
[[channels]]
name = "CD11c"
role = "myeloid"
[[channels]]
name = "TGFB1"
compartment = "membrane"
[[channels]]
name = "IL1B"
compartment = "cytoplasm"
"""
FULL = (
    DESIGN
    + """
[phenotypes]
tumor = "PanCK+"
myeloid = "CD11c+ & PanCK-"
[proximity]
from = "myeloid"
to = "tumor"
radii_um = [10, 20, 50, 100]
"""
)


def digest(recipe: Recipe) -> str:
    return provenance.digest(canonical(recipe))


def problems(text: str | dict[str, Any], *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, overrides)
    assert caught.value.exit_code == 2
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_the_design_s_recipe_is_complete() -> None:
    short, full = resolved(parse_recipe(DESIGN)), resolved(parse_recipe(FULL))
    assert short == full
    assert digest(short) == digest(full)
    assert [c.compartment for c in short.channels] == [
        "nucleus",
        "cytoplasm",
        "cell",
        "membrane",
        "cytoplasm",
    ]
    assert list(short.phenotypes.items()) == [("tumor", "PanCK+"), ("myeloid", "CD11c+ & PanCK-")]
    assert (
        (short.proximity.from_, short.proximity.to) == ("myeloid", "tumor") == proximity_pair(short)
    )
    assert short.segmentation.channel == "DAPI"
    assert short.picture.colors == {
        "DAPI": COLORS["gray"],
        "PanCK": COLORS["blue"],
        "TGFB1": COLORS["red"],
        "IL1B": COLORS["green"],
    }
    assert list(short.gates.markers) == ["PanCK", "CD11c", "TGFB1", "IL1B"]
    assert gated(short) == gated_markers(short)
    assert "TGFB1_membrane_mean" in {column.name for column in cell_columns(short)}


def test_resolved_is_idempotent_and_reads_back() -> None:
    recipe = resolved(parse_recipe(FULL))
    assert resolved(recipe) == recipe
    again = parse_recipe(recipe.model_dump(mode="json", by_alias=True))
    assert canonical(again) == canonical(recipe)
    assert isinstance(resolved(again), ResolvedRecipe)
    assert not isinstance(recipe.model_copy(update={"seed": 1}), ResolvedRecipe), "to be resolved"
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_other_panels_resolve() -> None:
    names = resolved(
        parse_recipe(
            {
                "channels": [
                    {"index": 2, "role": "nucleus"},
                    {"name": "pan CK", "role": "tumor"},
                    {"name": "EpCAM", "role": "tumor"},
                    {"name": "CD68", "role": "myeloid"},
                    {"name": "CD163", "role": "myeloid"},
                ]
            }
        )
    )
    assert names.channels[0].name == "channel_2"
    assert names.phenotypes == {
        "tumor": "'pan CK'+ | EpCAM+",
        "myeloid": "(CD68+ | CD163+) & 'pan CK'- & EpCAM-",
    }
    assert (
        names.picture.colors["CD68"] == COLORS["red"]
    )  # no markers: the myeloid channels are shown
    custom = resolved(
        parse_recipe(DESIGN + '[phenotypes]\nDC = "CD11c+ & PanCK-"\ncancer = "PanCK+"\n')
    )
    assert (custom.proximity.from_, custom.proximity.to) == ("DC", "cancer")
    alone = resolved(parse_recipe({"channels": [{"name": "DAPI", "role": "nucleus"}]}))
    assert alone.phenotypes == {}
    assert (alone.proximity.from_, alone.proximity.to) == (None, None)
    named = resolved(parse_recipe(DESIGN + "[phenotypes]\nodd = 'DAPI+'\n"))
    assert "DAPI" in gated(named)
    assert gated(named) == gated_markers(named)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[[channels]]\nname = "A"\nrole = "tumour"\n',
            "channels[5].role: found 'tumour', expected one of nucleus, tumor, myeloid",
        ),
        ('[[channels]]\nname = "A"\nrole = "tumour"\n', "did you mean 'tumor'?"),
        ("[[channels]]\nrole = 'tumor'\n", "channels[5].name: missing"),
        ("[[channels]]\nname = ''\n", "channels[5].name: found empty text"),
        (
            "[[channels]]\nname = ' DAPI'\n",
            "channels[5].name: found ' DAPI', spaces at its beginning or end",
        ),
        ("[[channels]]\nname = 'a\\u200bb'\n".replace("'", '"'), "control or invisible"),
        (
            "[[channels]]\nname = 'panck'\n",
            "channels[5].name: 'panck' is already the name of channels[1]",
        ),
        (
            "[[channels]]\nname = 'hoechst'\n",
            "channels[5].name: 'hoechst' is already the name of channels[0]",
        ),
        ("[[channels]]\nname = 'X'\naliases = ['x']\n", "listed twice"),
        (
            "[[channels]]\nname = 'X'\nindex = 1\n[[channels]]\nname = 'Y'\nindex = 1\n",
            "channels[6].index: 1 is also the index",
        ),
        (
            "[[channels]]\nname = 'X'\nindex = -1\n",
            "channels[5].index: found -1, expected a number at least 0",
        ),
        (
            "[[channels]]\nname = 'DNA2'\nrole = 'nucleus'\n",
            "2 channels have role nucleus (DAPI, DNA2)",
        ),
        (
            "[segmentaton]\nmethod = 'labels'\n",
            "segmentaton: unknown key; did you mean 'segmentation'?",
        ),
        (
            "[cells]\nradii_um = [10]\n",
            (
                "cells.radii_um: unknown key here; did you mean [proximity] radii_um or [priming]"
                " radii_um?"
            ),
        ),
        (
            "[cells]\ntumor_um = '8'\n",
            "cells.tumor_um: found '8', expected a number; write it without quotes",
        ),
        ("[cells]\ntumor_um = true\n", "cells.tumor_um: found true, expected a number"),
        ("[cells]\ntumor_um = nan\n", "cells.tumor_um: found nan, expected"),
        ("[cells]\ntumor_um = -1\n", "cells.tumor_um: found -1, expected a number above 0"),
        ("[cells]\nmin_stained_fraction = 1.5\n", "expected a number at most 1"),
        (
            "[cells.thresholds]\nDAPPI = 3\n",
            "cells.thresholds.DAPPI: no channel is called 'DAPPI'; did you mean 'DAPI'?",
        ),
        ("[cells.thresholds]\nIL1B = 3\n", "other channels never shape cells"),
        ("[cells.thresholds]\nPanCK = -3\n", "at least 0"),
        (
            "[slide]\nz = 'middle'\n",
            "slide.z: found 'middle', expected one of max, mean or a whole number",
        ),
        ("[slide]\nz = -1\n", "slide.z: found -1"),
        ("[segmentation]\nmethod = 'labels'\n", "segmentation.nuclei: missing"),
        ("[segmentation]\nmethod = 'labels'\ncells = 'a'\n", "cell masks alone are not enough"),
        (
            "[segmentation]\nnuclei = 'a.tif'\n",
            'segmentation.nuclei: only read with method = "labels"',
        ),
        (
            "[segmentation]\nchannel = 'DAP'\n",
            "segmentation.channel: no channel is called 'DAP'; did you mean 'DAPI'?",
        ),
        (
            "[measure]\nstatistics = ['mean', 'mode']\n",
            "measure.statistics[1]: found 'mode', expected one of mean, median, p95",
        ),
        ("[measure]\nstatistics = []\n", "measure.statistics: found none"),
        ("[measure]\nstatistics = ['mean', 'mean']\n", "expected each once"),
        ("[measure]\nstatistics = ['median']\n", "gates.default.statistic: mean is not measured"),
        ("[gates]\nmin_cell = 3\n", "gates.min_cell: unknown key; did you mean 'min_cells'?"),
        (
            "[gates.default]\nstatistic = 'sum'\n",
            "gates.default.statistic: found 'sum', expected one of mean, median, p95",
        ),
        (
            "[gates.markers.panck]\nvalue = 3\n",
            "gates.markers.panck: no channel is called 'panck'; did you mean 'PanCK'?",
        ),
        ("[gates.markers.PanCK]\nmethod = 'value'\n", "gates.markers.PanCK.value: missing"),
        (
            "[gates.markers.PanCK]\nmethod = 'otsu'\nvalue = 3\n",
            "gates.markers.PanCK.value: only used with",
        ),
        ("[gates.markers.PanCK]\nmethod = 'control'\n", "control_slide: missing"),
        (
            "[gates.markers.PanCK]\nmethod = 'otsu'\ncontrol_slide = 'x'\n",
            "control_slide: only used with",
        ),
        (
            "[phenotypes]\ntumor = 'PanCk+'\n",
            (
                "phenotypes.tumor: 'PanCk+': no channel is called 'PanCk' (character 1); did you"
                " mean 'PanCK'?"
            ),
        ),
        ("[phenotypes]\nother = 'PanCK+'\n", "phenotypes.other: the name is taken"),
        ("[phenotypes]\nCells = 'PanCK+'\n", "phenotypes.Cells: the name is taken"),
        (
            "[phenotypes]\na = 'PanCK+'\nA = 'CD11c+'\n",
            "phenotypes.A: differs from 'a' by case alone",
        ),
        ("[phenotypes]\ntumor = 3\n", "phenotypes.tumor: found 3, expected text in quotes"),
        ("[phenotypes]\n' x' = 'PanCK+'\n", "spaces at its beginning"),
        (
            "[proximity]\nfrom = 'mieloid'\n",
            "proximity.from: no phenotype is called 'mieloid'; did you mean 'myeloid'?",
        ),
        (
            "[proximity]\nradii_um = [20, 10]\n",
            "proximity.radii_um: found [20, 10], expected growing radii",
        ),
        ("[proximity]\nradii_um = []\n", "proximity.radii_um: found none"),
        ("[proximity]\nradii_um = 10\n", "proximity.radii_um: found 10, expected a list"),
        ("[proximity]\nradii_um = [10.0000001, 10.0000002]\n", "would share a name"),
        ("[proximity]\nmargin_um = [0]\n", "proximity.margin_um"),
        ("[cohort]\nunit = 'cell'\n", "cells and images of one patient are not independent"),
        ("[cohort]\norder = ['a', 'a']\n", "expected each group or visit once"),
        ("[cohort]\nvisit = 'group'\n", "'group' is also the group"),
        ("[table]\nformat = 'columns'\n", "needs x and y"),
        ("[priming]\nresponse = 'IL1B'\n", "priming.ligand: missing"),
        (
            "[priming]\nresponse = 'IL1B'\nligand = 'TGFB'\n",
            "priming.ligand: no channel is called 'TGFB'; did you mean 'TGFB1'?",
        ),
        (
            "[priming]\nresponse = 'IL1B'\nligand = 'IL1B'\n",
            "priming.ligand: 'IL1B' is also the response",
        ),
        (
            "[priming]\nresponse = 'IL1B'\nligand = 'TGFB1'\ncontrols = ['IL1B']\n",
            "'IL1B' is the ligand or the response",
        ),
        (
            "[priming]\nresponse = 'IL1B'\nligand = 'TGFB1'\nsource = 'myeloid'\n",
            "'myeloid' is also the responder",
        ),
        (
            "[priming]\nresponse = 'IL1B'\nligand = 'TGFB1'\nresponder = 'tumr'\n",
            "did you mean 'tumor'?",
        ),
        (
            "[picture.colors]\nPanCK = 'bleu'\n",
            "picture.colors.PanCK: found 'bleu', expected #rrggbb",
        ),
        ("[picture.colors]\nPanCK = '#12345'\n", "expected #rrggbb"),
        ("[picture.colors]\nPan = 'blue'\n", "picture.colors.Pan: no channel is called 'Pan'"),
        ("[outputs]\ncsv = 'no'\n", "outputs.csv: found 'no', expected true or false"),
    ],
)
def test_refused(text: str, expected: str) -> None:
    found = problems(DESIGN + text)
    assert any(expected in line for line in found), found
    assert len(found) <= 2, found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "channels: missing"),
        ("channels = []", "channels: found none, expected at least one"),
        ("[channels]\nname = 'DAPI'\n", "write [[channels]] with two brackets"),
        ("channels = 'DAPI'", "channels: found 'DAPI', expected a list"),
        ("[[channels]]\nname = 'PanCK'\nrole = 'tumor'\n", "no channel has role"),
        (
            "[[channels]]\nname = 'DAPI'\nrole = 'ignore'\n[segmentation]\nchannel = 'DAPI'\n",
            "has role ignore",
        ),
        (
            (
                "[[channels]]\nname = 'D'\nrole = 'nucleus'\n[[channels]]\nname = 'I'\nrole ="
                " 'ignore'\n[phenotypes]\na = 'I+'\n"
            ),
            "role ignore",
        ),
    ],
)
def test_refused_channels(text: str, expected: str) -> None:
    assert any(expected in line for line in problems(text))


def test_all_problems_at_once() -> None:
    found = problems(
        DESIGN.replace('"tumor"', '"tumour"')
        + "seed = -1\n[slide]\nz = 'mix'\n[gates]\nmin_cell = 3\n[phenotypes]\nx ="
        " 'FOO+'\n[picture.colors]\nPanCK = 'bleu'\n",
        "cells.tumor_um='wide'",
        "nonsense",
    )
    places = [line.split(":")[0] for line in found]
    expected = [
        "--set nonsense",
        "channels[1].role",
        "channels[4].seed",
        "slide.z",
        "cells.tumor_um",
        "gates.min_cell",
    ]
    expected += ["phenotypes.x", "picture.colors.PanCK"]
    assert sorted(places) == sorted(expected)


def test_misspelled_values_are_repaired_for_the_later_checks() -> None:
    found = problems(DESIGN.replace('role = "nucleus"', 'rol = "nucleos"'))
    assert len(found) == 2  # the key, then the role it stands for; no "no nucleus channel" on top
    assert not any("no channel has role" in line for line in found)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(DESIGN.replace("TGFB1", "TGF-β1").replace("\n", "\r\n").encode(encoding))
        assert load_recipe(path).names[3] == "TGF-β1"
    path.write_bytes(DESIGN.replace("TGFB1", "TGF-µ").encode("latin-1"))
    with pytest.raises(RecipeError, match=r"not UTF-8 text \(line 13"):
        load_recipe(path)
    path.write_text("[[channels]\nname = 'x'\n")
    with pytest.raises(RecipeError, match=r"not valid TOML: .*line 1, column 1[12]"):
        load_recipe(path)
    path.write_text("a = " + "[" * 5000)
    with pytest.raises(RecipeError, match=r"nested too deeply|not valid TOML"):
        load_recipe(path)
    path.write_text("seed = " + "9" * 5000)
    with pytest.raises(RecipeError, match="not valid TOML"):
        load_recipe(path)
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(RecipeError, match="1,000,001 bytes"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="no such file"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(RequestError, match="a folder"):
        load_recipe(tmp_path)


# ---------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("channels.PanCK.compartment=membrane", ("channels", 1, "compartment"), "membrane"),
        ('channels."PanCK".compartment = "membrane"', ("channels", 1, "compartment"), "membrane"),
        ("channels.Hoechst.index=4", ("channels", 0, "index"), 4),
        ("channels.3.role=ignore", ("channels", 3, "role"), "ignore"),
        ("gates.markers.PanCK.value=300", ("gates", "markers", "PanCK", "method"), "value"),
        ("gates.default.method=otsu", ("gates", "default", "method"), "otsu"),
        ("proximity.radii_um=[5, 10]", ("proximity", "radii_um"), [5.0, 10.0]),
        ("proximity.from=tumor", ("proximity", "from"), "tumor"),
        ("phenotypes.tumor='PanCK+ & CD11c-'", ("phenotypes", 0, 1), "PanCK+ & CD11c-"),
        ("phenotypes.my.cells=PanCK+", ("phenotypes", -1, 0), "my.cells"),
        ("cells.thresholds.PanCK=40", ("cells", "thresholds", "PanCK"), 40.0),
        ("picture.colors.TGFB1=yellow", ("picture", "colors", "TGFB1"), "yellow"),
        ("outputs.csv=false", ("outputs", "csv"), False),
        ("seed=7", ("seed",), 7),
        ("segmentation.method=unet", ("segmentation", "method"), "unet"),
    ],
)
def test_set(override: str, path: tuple[str | int, ...], value: object) -> None:
    at: Any = canonical(parse_recipe(FULL, [override]))
    for key in path:
        at = at[key]
    assert at == value


def test_set_addresses_names_with_dots_and_spaces() -> None:
    data = {"channels": [{"name": "DAPI", "role": "nucleus"}, {"name": "CK8.18 (Opal 690)"}]}
    recipe = parse_recipe(
        data, ["channels.CK8.18 (Opal 690).role=tumor", "gates.markers.CK8.18 (Opal 690).value=3"]
    )
    assert recipe.channels[1].role == "tumor"
    assert recipe.gate("CK8.18 (Opal 690)").value == 3
    assert data["channels"][1] == {
        "name": "CK8.18 (Opal 690)"
    }  # the caller's values are not touched


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "expected section.key=value"),
        ("=3", "expected section.key=value"),
        ("seed=", "expected section.key=value"),
        ("channels.PanKC.role=tumor", "no channel is called 'PanKC'; did you mean 'PanCK'?"),
        ("channels.9.role=tumor", "no channel is called '9'"),
        ("channels.PanCK=tumor", "expected a table for a whole channel"),
        ("proximity.radii_um=[5,", "is not a TOML value"),
        ("seed=1\nx=2", "more than one TOML value"),
        ("seed.x=1", "seed: found a section, expected a whole number"),
        ("a..b=1", "an empty key"),
        ("channels.'x.role=1", "a quote"),
        ("cell.tumor_um=3", "cell: unknown key; did you mean 'cells'?"),
        (
            "gates.markers.PanCK.valu=300",
            "gates.markers.PanCK.valu: unknown key; did you mean 'value'?",
        ),
    ],
)
def test_refused_set(override: str, expected: str) -> None:
    found = problems(FULL, override)
    assert any(expected in line for line in found), found


@given(
    override=st.builds(
        lambda key, value: f"{key}={value}",
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(
                ["seed", "channels.0", "gates.markers", "cells", "phenotypes.a", "channels"]
            ),
        ),
        st.one_of(
            st.text(max_size=12),
            st.sampled_from(["[1]", "{a=1}", "1979-05-27", "1e400", "''", "true", "[[]]"]),
        ),
    )
)
@settings(deadline=None, max_examples=40)
def test_any_override_is_taken_or_refused(override: str) -> None:
    with contextlib.suppress(RecipeError):
        parse_recipe(FULL, [override])


JSON_LIKE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    section=st.sampled_from([*Recipe.model_fields, "x"]),
    key=st.sampled_from(["", "name", "colors", "markers", "radii_um"]),
    value=JSON_LIKE,
)
@settings(deadline=None, max_examples=40)
def test_anything_else_is_refused_in_words(section: str, key: str, value: object) -> None:
    data: dict[str, Any] = {"channels": [{"name": "DAPI", "role": "nucleus"}]}
    data[section] = {key: value} if key else value
    said = "recipe: read"
    try:
        parse_recipe(data)
    except RecipeError as error:
        said = str(error)
    assert all(": " in line for line in said.splitlines())


# ---------------------------------------------------------------- digest and schema


def test_canonical_form_knows_the_order_of_phenotypes_and_nothing_else() -> None:
    recipe = parse_recipe(FULL)
    swapped = recipe.model_copy(update={"phenotypes": dict(reversed(recipe.phenotypes.items()))})
    assert digest(recipe) != digest(swapped)
    shuffled = (
        "[proximity]\nto='tumor'\nfrom='myeloid'\nradii_um=[10.0, 20, 50, 100]\n[phenotypes]"
        + FULL.split("[phenotypes]")[1]
    )
    shuffled = shuffled.split("[proximity]\nfrom")[0] + DESIGN
    assert digest(parse_recipe(shuffled)) == digest(recipe)


def test_schema() -> None:
    schema = recipe_schema()
    assert set(schema["properties"]) == {*Recipe.model_fields}
    assert schema["additionalProperties"] is False
    assert "from" in schema["$defs"]["Proximity"]["properties"]
    for name, model in schema["$defs"].items():
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key} has no description"


def test_every_field_is_described() -> None:
    for name, field in Recipe.model_fields.items():
        for key, inner in getattr(field.annotation, "model_fields", {}).items():
            assert inner.description, f"{name}.{key}"
