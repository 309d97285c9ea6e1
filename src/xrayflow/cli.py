"""The command line: it reads options, calls the rooms, prints. No logic lives here, and no torch until a command runs.

Exit codes: 0 answered; 1 a clear one-line error (traceback with --debug); 2 usage; 3 answered, but the verdict of `fit`
is do-not-trust; 130 interrupted. With `--json`, stdout holds one JSON object and nothing else.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from xrayflow.errors import XrayflowError, XrayflowWarning

UsageError = cast(type[Exception], typer.BadParameter.__base__)
"""Base of all that is wrong with options; typer has click's classes under names that differ between its versions."""

DO_NOT_TRUST = 3
INTERRUPTED = 130

FILES, MODEL, DATA, ANSWER, OUTPUT = "Files", "Model", "Data", "Answer", "Output"

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_RANGE = re.compile(rf"^\s*{_NUMBER}\s*-\s*{_NUMBER}\s*$")
_CHANNELS = re.compile(r"^\s*(\d+)\s*-\s*(\d+)\s*$")


class Statistic(StrEnum):
    """The names of `--statistic`; those of `statistics.auto`, which loads torch."""

    auto = "auto"
    cstat = "cstat"
    pstat = "pstat"
    wstat = "wstat"
    pgstat = "pgstat"
    pgstat_xspec = "pgstat-xspec"
    chi2 = "chi2"


app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def main() -> None:
    """The console script."""
    # a second thread mostly waits, and spins while it waits: docs/decisions/0003-one-thread.md
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code.
    """
    try:
        return app(args=list(arguments), prog_name="xrayflow", standalone_mode=False) or 0
    except UsageError as error:
        _complain(_usage(error))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone, as `head` does
        sys.stdout = None
        return 1


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"xrayflow {version('xrayflow')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From an X-ray spectrum file to a certified posterior. Start with: xrayflow demo"""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the products.", show_default=True)] = Path("xrayflow-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Fit a real and a simulated NICER spectrum end to end (10 s): the first thing to run."""
    with _answering(debug):
        from xrayflow import demo as examples
        from xrayflow.products.write import SCHEMA_VERSION, located_summary, to_json

        summaries = []
        with _progress() as progress:
            for fit in examples.run(out, progress):
                summaries.append(located_summary(fit.posterior, fit.products))
                if not as_json:
                    _print_report(fit.posterior, fit.products, title=fit.title)
        if as_json:
            print(to_json({"schema_version": SCHEMA_VERSION, "fits": summaries}))
        else:
            print("try next:")
            print(f"  xrayflow fit {out / 'simulated' / 'simulated.pha'} --out my-first-fit")
            print("  xrayflow fit YOUR.pha --model 'TBabs*powerlaw'      (any NICER spectrum; see xrayflow fit --help)")


@app.command()
def fit(
    pha: Annotated[str, typer.Argument(metavar="PHA", help="The spectrum (OGIP, may be gzipped).", show_default=False)],
    rmf: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Redistribution matrix, instead of RESPFILE.", rich_help_panel=FILES),
    ] = None,
    arf: Annotated[
        str | None, typer.Option(metavar="FILE", help="Effective area, instead of ANCRFILE.", rich_help_panel=FILES)
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(metavar="FILE|none", help="Background spectrum, instead of BACKFILE.", rich_help_panel=FILES),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="EXPR", help="As in XSPEC's model command.", rich_help_panel=MODEL)
    ] = "TBabs*simpl*ezdiskbb",
    freeze: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Hold a parameter, e.g. TBabs.nH=0.2.", rich_help_panel=MODEL),
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=EXPR",
            help="Tie a parameter to others, e.g. gaussian_3.Sigma=2*gaussian.Sigma.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LO:HI|NAME~N(MEAN,SD)", help="Change the prior of a parameter.", rich_help_panel=MODEL
        ),
    ] = None,
    abund: Annotated[
        str, typer.Option(metavar="wilm|angr|aspl|grsa|lodd", help="Abundances of absorbers.", rich_help_panel=MODEL)
    ] = "wilm",
    xsect: Annotated[
        str, typer.Option(metavar="vern", help="Cross-sections of absorbers.", rich_help_panel=MODEL)
    ] = "vern",
    energies: Annotated[
        str | None,
        typer.Option(metavar="KEV", help="Bands to fit: 0.5-1.5,2.3-10 (default 0.3-10).", rich_help_panel=DATA),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="FIRST-LAST", help="Channels to fit instead, both kept: 30-999.", rich_help_panel=DATA),
    ] = None,
    grouping: Annotated[
        str, typer.Option(metavar="file|none|optimal|min:N", help="How channels form bins.", rich_help_panel=DATA)
    ] = "file",
    statistic: Annotated[
        Statistic,
        typer.Option(help="XSPEC's statistic to show; only chi2 changes the posterior.", rich_help_panel=DATA),
    ] = Statistic.auto,
    systematic: Annotated[
        float,
        typer.Option(
            metavar="FRACTION", min=0.0, help="Systematic error of the model in each bin: 0.015.", rich_help_panel=DATA
        ),
    ] = 0.0,
    draws: Annotated[int, typer.Option(min=10, help="Posterior draws per block.", rich_help_panel=ANSWER)] = 1000,
    ess: Annotated[
        float, typer.Option(min=1.0, help="Effective sample size to reach.", rich_help_panel=ANSWER)
    ] = 400.0,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed and file give the same answer.", rich_help_panel=ANSWER)
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write summary.json, draws.npz, corner.png, spectrum.png.", rich_help_panel=OUTPUT
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.", rich_help_panel=OUTPUT)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """One spectrum -> its posterior, checked: parameters, statistic, verdict. Exit code 3: do not trust it."""
    held = dict(_assignment(text) for text in freeze or [])
    tied = dict(_link(text) for text in link or [])
    for name in tied:
        if name.lower() in {other.lower() for other in held}:
            raise typer.BadParameter(f"{name} is in --freeze too; give one of them", param_hint="--link")
    for text in prior or []:
        if "=" not in text and "~" not in text:
            raise typer.BadParameter(f"'{text}': write NAME=lo:hi or NAME~N(mean,sd)", param_hint="--prior")
    if energies is not None and channels is not None:
        raise typer.BadParameter("give --energies or --channels, not both")
    bands, kept = _bands(energies), _channels(channels)
    with _answering(debug):
        from xrayflow.inference import infer
        from xrayflow.models import parse_model
        from xrayflow.ogip import read_observation
        from xrayflow.products.write import located_summary, make_folder, to_json, write_products

        if out is not None:
            make_folder(out)
        with _progress() as progress:
            spectral = parse_model(model, abund, xsect)
            observation = read_observation(pha, rmf, arf, background)
            posterior = infer(
                observation,
                model=spectral,
                prior=prior,
                freeze=held,
                link=tied,
                systematic=systematic,
                energies=bands,
                channels=kept,
                grouping=grouping,
                statistic=statistic.value,
                seed=seed,
                draws=draws,
                ess=ess,
                progress=progress,
            )
            if progress is not None and out is not None:
                progress("drawing", 1.0)
            products = {} if out is None else write_products(posterior, out)
        if as_json:
            print(to_json(located_summary(posterior, products)))
        else:
            _print_report(posterior, products)
    if posterior.verdict == "do-not-trust":
        raise typer.Exit(DO_NOT_TRUST)


@app.command()
def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|EXPR]", help="A component, or a model as 'TBabs*powerlaw'.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """The components, or the parameters of one or of a model: the names that --freeze, --link and --prior take."""
    with _answering(debug):
        from xrayflow.models.listing import describe, list_lines

        if as_json:
            import json

            print(json.dumps(describe(name), indent=2))
        else:
            print("\n".join(list_lines(name)))


@contextmanager
def _answering(debug: bool) -> Iterator[None]:
    """Our errors end as one line and exit code 1, our warnings as one line each; all else is a bug and shows itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", XrayflowWarning)
        usual, told = warnings.showwarning, set()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, XrayflowWarning):
                usual(message, category, filename, lineno, file, line)
            elif str(message) not in told:
                told.add(str(message))
                _complain(f"warning: {message}")

        warnings.showwarning = show
        try:
            yield
        except XrayflowError as error:
            if debug:
                traceback.print_exc()
            _complain(str(error))
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            _complain("interrupted")
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None] | None]:
    """A bar on stderr where that is a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda step, fraction: bar.update(task, description=step, completed=fraction)


def _print_report(posterior: Any, products: dict[str, Path], title: str | None = None) -> None:
    from rich.console import Console

    from xrayflow.products.tables import report

    console = Console(highlight=False, markup=False, emoji=False)
    if title is not None:
        console.rule(title, align="left", style="dim")
    console.print(report(posterior, products))
    if title is not None:
        console.print()


def _complain(text: str) -> None:
    """One line on stderr, whatever the text holds."""
    print(f"xrayflow: {' '.join(text.split())}", file=sys.stderr)


def _usage(error: Exception) -> str:
    """What is wrong with the options, and whose help says more."""
    described, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
    text = described() if callable(described) else str(error)
    return f"{text} (see {getattr(context, 'command_path', 'xrayflow')} --help)"


def _assignment(text: str) -> tuple[str, float]:
    """NAME=VALUE of --freeze."""
    name, sign, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        sign = ""
    if not sign or not name.strip():
        raise typer.BadParameter(f"'{text}': write NAME=VALUE, as TBabs.nH=0.2", param_hint="--freeze")
    return name.strip(), number


def _link(text: str) -> tuple[str, str]:
    """NAME=EXPR of --link."""
    name, sign, expression = text.partition("=")
    if not sign or not name.strip() or not expression.strip():
        raise typer.BadParameter(f"'{text}': write NAME=EXPR, as gaussian_3.Sigma=gaussian.Sigma", param_hint="--link")
    return name.strip(), expression.strip()


def _bands(text: str | None) -> list[tuple[float, float]] | None:
    """The ranges of --energies."""
    if text is None:
        return None
    found = [_RANGE.match(part) for part in text.split(",")]
    pairs = [(float(match[1]), float(match[2])) for match in found if match]
    if len(pairs) < len(found) or any(lo >= hi for lo, hi in pairs):
        raise typer.BadParameter(f"'{text}': write ranges in keV, as 0.5-1.5,2.3-10", param_hint="--energies")
    return pairs


def _channels(text: str | None) -> tuple[int, int] | None:
    """The two numbers of --channels."""
    if text is None:
        return None
    match = _CHANNELS.match(text)
    if match is None or int(match[1]) > int(match[2]):
        raise typer.BadParameter(f"'{text}': write the first and last channel, as 30-999", param_hint="--channels")
    return int(match[1]), int(match[2])
