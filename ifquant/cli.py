"""The command line: every command is one call of the package plus how its answer is shown.

Exit codes: 0 all done; 1 a bug of ours; 2 the request is wrong; 3 some or all slides failed; 4
resources ran out; 130 and 143 interrupted.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ifquant import __version__
from ifquant.errors import IfquantError, RequestError
from ifquant.execution.executors import Execution
from ifquant.execution.threads import one_thread_per_library
from ifquant.geometry.windows import Window

one_thread_per_library()

INTERRUPTED = 130

app = typer.Typer(
    name="ifquant",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From stained slides to cell tables, phenotypes, proximity and pictures.",
)

Images = Annotated[list[str], typer.Argument(help="Slides, folders or globs", show_default=False)]
PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size", help="Pixel size in um, for files that do not record it", min=0.001
    ),
]

Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a recipe value: section.key=value")
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Exit with 3 where there is any warning; everything is written all the same",
    ),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False,
) -> None:
    if version:
        typer.echo(f"ifquant {__version__}")
        raise typer.Exit


@app.command()
def init(
    image: Annotated[
        str | None, typer.Argument(help="A slide of the cohort", show_default=False)
    ] = None,
    markers: Annotated[
        Path | None,
        typer.Option("--markers", help="MCMICRO/nf-core marker file, instead of a slide"),
    ] = None,
    pixel_size: PixelSize = None,
) -> None:
    """Print a commented recipe with this slide's channels and a guess of each role, to be confirmed
    by you.
    """
    from ifquant.recipe.markers_csv import read_markers
    from ifquant.recipe.template import recipe_template

    if (image is None) == (markers is None):
        raise RequestError(
            "give either a slide or --markers FILE: ifquant init slide.ome.tif > recipe.toml"
        )
    if markers is not None:
        typer.echo(recipe_template(read_markers(markers), source=markers.name), nl=False)
        return
    from ifquant.slides.slide import SlideRef

    with SlideRef((str(image),), pixel_size_um=pixel_size).open() as slide:
        typer.echo(recipe_template(slide.info.channels, source=Path(str(image)).name), nl=False)
        for text in slide.info.warnings:
            typer.echo(f"warning: {text}", err=True)


@app.command()
def inspect(images: Images, pixel_size: PixelSize = None) -> None:
    """Show shape, channels, pixel size, pyramid and problems of slides - before spending an
    hour.
    """
    from rich.console import Console
    from rich.table import Table

    from ifquant.slides import slide
    from ifquant.slides.slide_names import find_slides, slide_name

    table = Table(show_lines=True)
    heads = ("slide", "format", "C x Y x X", "type", "channels", "um/px", "levels", "problems")
    for head in heads:
        table.add_column(head, overflow="fold")
    troubled = False
    for path in find_slides(images):
        info, problems = slide.inspect(slide.SlideRef((path,), pixel_size_um=pixel_size))
        troubled |= bool(problems)
        name = slide_name(path)
        if info.format == "unreadable":
            table.add_row(name, *["-"] * 6, "\n".join(problems))
            continue
        size = "?"
        if info.pixel_size_um is not None:
            size = f"{info.pixel_size_um:.4g} ({info.pixel_size_origin})"
        shape, channels = " x ".join(map(str, info.shape)), ", ".join(info.channels)
        notes = "\n".join([*problems, *info.warnings]) or "none"
        table.add_row(name, info.format, shape, info.dtype, channels, size, str(info.levels), notes)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    raise typer.Exit(3 if troubled else 0)


@app.command()
def run(
    images: Annotated[
        list[str] | None, typer.Argument(help="Slides, folders or globs", show_default=False)
    ] = None,
    recipe: Annotated[Path, typer.Option("-r", "--recipe", help="The recipe (TOML)")] = Path(
        "recipe.toml"
    ),
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results")] = Path(
        "results"
    ),
    samples: Annotated[
        Path | None,
        typer.Option("--samples", help="Sample sheet: slide, path, patient, group, ..."),
    ] = None,
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option("--workers", help="Local processes")] = 1,
    tile_size: Annotated[
        int, typer.Option("--tile-size", help="Side of a tile in px; changes no result")
    ] = 2048,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Address of a Dask scheduler")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option("--crop", metavar="X,Y,W,H", help="Only this region of every slide, in px"),
    ] = None,
    pixel_size: PixelSize = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Recompute everything")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar")] = False,
    strict: Strict = False,
) -> None:
    """Segment, measure, classify and report every slide; resumes where it stopped."""
    from ifquant.commands.run import run as run_cohort

    result = run_cohort(
        recipe,
        images or [],
        out,
        samples=samples,
        overrides=tuple(overrides or ()),
        pixel_size_um=pixel_size,
        execution=Execution(workers, tile_size, scheduler, _window(crop), fresh, quiet),
    )
    for line in result.summary_lines():
        typer.echo(line, err=True)
    raise typer.Exit(result.exit_code or _strictly(strict, result.n_warnings))


@app.command()
def analyze(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of results, or cell tables of another program", show_default=False
        ),
    ],
    recipe: Annotated[
        Path | None,
        typer.Option(
            "-r", "--recipe", help="The recipe, with [priming]; default: that of the results"
        ),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the analysis")] = Path(
        "analysis"
    ),
    samples: Annotated[
        Path | None, typer.Option("--samples", help="Sample sheet: slide, patient, group, ...")
    ] = None,
    overrides: Overrides = None,
    workers: Annotated[
        int, typer.Option("--workers", help="Local processes; changes no result")
    ] = 1,
    strict: Strict = False,
) -> None:
    """Ask the question of [priming] of a cohort: slides, patients, guards, report."""
    from ifquant.commands.analyze import analyze as analyze_cohort

    result = analyze_cohort(
        sources,
        recipe,
        out,
        samples=samples,
        overrides=tuple(overrides or ()),
        execution=Execution(workers, quiet=True),
    )
    for line in result.summary_lines():
        typer.echo(line, err=True)
    raise typer.Exit(_strictly(strict, len(result.warnings)))


@app.command()
def segment(
    image: Annotated[str, typer.Argument(help="A slide", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Label image (OME-TIFF)")],
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel", help="Nucleus channel: name or index; default: guessed from the names"
        ),
    ] = None,
    cells: Annotated[
        bool,
        typer.Option("--cells", help="Cells instead of nuclei, grown along all other channels"),
    ] = False,
    method: Annotated[
        str | None,
        typer.Option("--method", help="Segmentation method; default: the recipe's default"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Network for --method cellpose: absolute path, or a name"),
    ] = None,
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="A network given by name may be downloaded")
    ] = False,
    pixel_size: PixelSize = None,
) -> None:
    """Segment nuclei (or cells) of one slide, without a recipe."""
    from ifquant.commands.segment import segment_file

    count, notes = segment_file(
        image,
        out,
        channel=channel,
        cells=cells,
        method=method,
        pixel_size_um=pixel_size,
        model=model,
        allow_download=allow_download,
    )
    typer.echo(f"{count} {'cells' if cells else 'nuclei'} written to {out}", err=True)
    for text in notes:
        typer.echo(f"warning: {text}", err=True)


@app.command()
def evaluate(
    predicted: Annotated[Path, typer.Argument(help="Label image", show_default=False)],
    truth: Annotated[Path, typer.Argument(help="Label image of the truth", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Also write the table as CSV")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also draw hits, misses and splits (PNG)")
    ] = None,
) -> None:
    """AP, F1, precision, recall, PQ, splits and merges over IoU thresholds."""
    from ifquant.commands.evaluate import evaluate_files

    table = evaluate_files(predicted, truth, out=out, picture=picture)
    typer.echo(table.to_string(index=False, float_format=lambda v: f"{v:.4f}"))


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the slides and their truth")],
    n: Annotated[int, typer.Option("-n", help="Number of slides", min=1)] = 1,
    size: Annotated[int, typer.Option("--size", help="Side in px", min=128)] = 2048,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first slide", min=0)] = 0,
    effect: Annotated[
        float, typer.Option("--effect", help="True effect of neighbouring TGFb on IL1b")
    ] = 0.0,
) -> None:
    """Make tissue with known truth: OME-TIFFs, label images and cell tables."""
    from ifquant.simulation.simulated_slides import simulate_slides

    for path in simulate_slides(out, n=n, size=size, seed=seed, effect=effect):
        typer.echo(str(path))


@app.command()
def review(
    results: Annotated[Path, typer.Argument(help="Folder of the results", show_default=False)],
    slide: Annotated[
        str | None, typer.Argument(help="One slide; default: all", show_default=False)
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Apply the review logs, without a viewer")
    ] = False,
    reviewer: Annotated[
        str | None,
        typer.Option(
            "--reviewer", help="Follow only this reviewer; default: all, where they agree"
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the images, if they were moved since the run"),
    ] = None,
) -> None:
    """Open results for review; with --apply, write corrected results and a report of before and
    after.
    """
    if not apply:
        if reviewer is not None or images is not None:
            raise RequestError(
                "--reviewer and --images go with --apply; in the viewer, say who you are and where"
                " the images are there"
            )
        from ifquant.commands.review_viewer import open_viewer

        open_viewer(results, slide)
        return
    from ifquant.commands.review_apply import apply_reviews

    result = apply_reviews(
        results, [slide] if slide is not None else [], reviewer=reviewer, images=images
    )
    for line in result.summary_lines():
        typer.echo(line, err=True)
    raise typer.Exit(result.exit_code)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the recipe."""
    import json

    from ifquant.recipe.recipe_file import recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=2))


def _strictly(strict: bool, n_warnings: int) -> int:
    return 3 if strict and n_warnings else 0


def _window(text: str | None) -> Window | None:
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise RequestError(
            f"--crop is {text!r}; expected four integers X,Y,W,H in px, e.g. --crop"
            " 2000,1000,1024,1024"
        ) from None
    if min(x, y) < 0 or min(width, height) < 1:
        raise RequestError(f"--crop is {text!r}; X and Y must be at least 0, W and H at least 1")
    return Window(y, x, y + height, x + width)


def _terminated(signum: int, frame: Any) -> NoReturn:
    raise SystemExit(143)


def _interrupted() -> NoReturn:
    typer.echo(
        "ifquant: interrupted. Finished slides and tiles are kept; the same command goes on from"
        " here.",
        err=True,
    )
    sys.exit(INTERRUPTED)


def main() -> None:
    """Run the command line and map every outcome to the documented exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # shells start background jobs with SIGINT ignored
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of an interrupt
            _interrupted()
        sys.exit(code if isinstance(code, int) else 0)
    except IfquantError as error:
        typer.echo(f"ifquant: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _interrupted()
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "show"):
            error.show()
            sys.exit(2)
        if type(error).__name__ == "Abort":  # what click makes of it
            _interrupted()
        raise


if __name__ == "__main__":
    main()
