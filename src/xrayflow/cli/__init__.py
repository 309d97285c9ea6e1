"""The command line: it reads options, calls the rooms, prints. No logic lives here, and no torch until a command runs.

Exit codes: 0 answered; 1 a clear one-line error (traceback with --debug): what files, data, models and their parameters
do not allow; 2 usage: an option that cannot be read, or whose value can never be; 3 answered, but the verdict of `fit`
is do-not-trust; 130 interrupted. With `--json`, stdout holds one JSON object and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, cast

import typer

from xrayflow.cli import answer, catalogue, check, group, inspect, make, population, result, study, watch
from xrayflow.cli.terminal import INTERRUPTED, complain, usage
from xrayflow.memory import keep_freed_memory

UsageError = cast(type[Exception], typer.BadParameter.__base__)
"""Base of all that is wrong with options; typer has click's classes under names that differ between its versions."""

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


def main() -> None:
    """The console script."""
    # a second thread mostly waits, and spins while it waits: docs/decisions/0003-one-thread.md
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_freed_memory()
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
        complain(usage(error))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
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


for verb in (
    *(
        answer.demo,
        answer.fit,
        catalogue.catalogue,
        watch.watch,
        inspect.inspect,
        group.group,
        make.simulate,
        study.targets,
        make.train,
        study.evaluate,
    ),
    *population.VERBS,
    *result.VERBS,
    *(answer.models, make.networks, check.check),
):
    app.command()(verb)
