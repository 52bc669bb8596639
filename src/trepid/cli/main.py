"""Entry point of `trepid`: collects the verbs and turns a user error into one line and an exit code.

Exit codes
----------
0    done
1    done, and `check` or `doctor` found a problem
2    a wrong command, setting or input file
3    a computation failed numerically
4    a simulation was stopped: force uncertainty above the threshold, or unstable
5    the reference failed, and the campaign could not continue without the label
6    another program is missing or ended unexpectedly: the package of a committee's members, a worker process
7    the machine failed: the disk is full or broken, or the memory is used up
130  interrupted by a signal

Anything else is a defect of trepid and shows its traceback.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import itertools
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer
import typer.core

from trepid.cli import (
    analyse,
    anharmonicity,
    audit,
    calibrate,
    check,
    compare,
    conductivity,
    distil,
    doctor,
    evaluate,
    events,
    export,
    fit,
    init,
    label,
    learn,
    lifetimes,
    md,
    phonons,
    plan,
    relax,
    report,
    schema,
    screen,
    status,
)
from trepid.cli.output import say
from trepid.errors import ExitCode, TrepidError, is_machine_failure
from trepid.processes import kill_all
from trepid.signals import SignalWatch

# typer raises the exceptions of click, or of its own copy of it, depending on its version; their bases are the same.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]
_ClickException: type[typer.BadParameter] = _UsageError.__bases__[0]

app = typer.Typer(
    name="trepid",
    help="Machine-learned interatomic potentials by active learning, for strongly anharmonic crystals.",
    epilog="Exit codes: 0 done, 1 a check found problems, 2 wrong input, 3 numerical failure, 4 stopped as "
    "untrusted, 5 labels failed, 6 a backend is missing or ended, 7 disk full or out of memory, 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    init,
    check,
    relax,
    learn,
    label,
    fit,
    evaluate,
    calibrate,
    md,
    analyse,
    anharmonicity,
    phonons,
    lifetimes,
    compare,
    audit,
    events,
    conductivity,
    export,
    status,
    plan,
    report,
    distil,
    screen,
    schema,
    doctor,
):
    # "`trepid fit`: train a ..." gives the line of the overview; the docstring of the command is its own help.
    summary = (verb.__doc__ or "").partition(": ")[2].strip()
    app.command(name=verb.__name__.rpartition(".")[2], short_help=summary[:1].upper() + summary[1:])(verb.command)


@app.callback(invoke_without_command=True)
def trepid(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr what is done.")] = False,
) -> None:
    """Machine-learned interatomic potentials by active learning, for strongly anharmonic crystals."""
    if version:
        _print_version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
    _log_to_stderr(logging.INFO if verbose else logging.WARNING)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; user errors are printed, not raised."""
    # To parse anything, typer imports pydantic: a third of the time of these two.
    if list(arguments) == ["--version"]:
        _print_version()
        return 0
    watch = SignalWatch(_answer_signal)
    watch.start(_interrupt)
    try:
        return _run(arguments)
    finally:
        watch.stop()


def _run(arguments: Sequence[str]) -> int:
    command = typer.main.get_group(app)
    _name_no_value_of_flags(command)
    if list(arguments) in ([], ["-h"], ["--help"]):
        typer.echo(command.get_help(typer.Context(command, info_name="trepid", **command.context_settings)))
        return 0
    try:
        result = command.main(args=list(arguments), prog_name="trepid", standalone_mode=False)
    except TrepidError as error:
        say(f"error: {_one_line(error)}")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return ExitCode.INTERRUPTED
    except typer.Exit as leave:
        return int(leave.exit_code)
    except _UsageError as error:
        message = _with_nearest(_one_line(error.format_message()).rstrip("."), _options_of(error))
        where = _of_verb(arguments) if error.ctx is None else error.ctx.command_path
        say(
            f"error: {_several_numbers(error, arguments) or message + _value_given(error, arguments)}; try '{where} --help'"
        )
        return ExitCode.INPUT
    except _ClickException as error:
        say(f"error: {_one_line(error.format_message()).rstrip('.')}; try '{_of_verb(arguments)} --help'")
        return ExitCode.INPUT
    except BrokenPipeError:
        # The reader of the output has ended (`| head`); without this the interpreter prints an error when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and not is_machine_failure(error):
            raise
        say(f"error: {'cannot write' if error.filename is None else error.filename}: {error.strerror}")
        return ExitCode.MACHINE if is_machine_failure(error) else ExitCode.INPUT
    except MemoryError as error:
        say(f"error: out of memory{': ' if str(error) else ''}{_one_line(error)}; use a smaller system or settings")
        return ExitCode.MACHINE
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich ends so where the reader has ended
            return 0
        say(
            f"error: something that trepid called ended with sys.exit({'' if error.code is None else repr(error.code)})"
        )
        return ExitCode.LABELS
    return result if isinstance(result, int) else 0


def _name_no_value_of_flags(command: typer.core.TyperGroup) -> None:
    """Leave `<bool>`, which newer versions of typer show behind a flag as if it took a value, out of the help."""
    for verb in command.commands.values():
        for parameter in verb.params:
            if isinstance(parameter, typer.core.TyperOption) and parameter.is_flag:
                parameter.metavar = ""


def _answer_signal(watch: SignalWatch, number: int, count: int) -> None:
    """A signal in a verb that has nothing to save: it ends. Those that have watch by themselves."""
    watch.tell(f"{signal.Signals(number).name}: ending")
    watch.end_now()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _print_version() -> None:
    typer.echo(f"trepid {doctor.installed_version('trepid')}")


_POSSIBLE = re.compile(r"\s*\(Possible options: (?P<several>[^)]*)\)|[\s;]*[Dd]id you mean '?(?P<one>--[\w-]+)'?\??")


_CHOICE = re.compile(r"'(?P<given>[^']*)' is not one of (?P<several>.*)")


_NO_NUMBER = re.compile(
    r"Input should be a valid (?P<kind>number|integer), unable to parse string as an? (?:number|integer)"
    r"|'[^']*' is not a valid (?P<other>float|integer)"
)
"""Messages of pydantic, and of click, about a value that is no number."""


def _with_nearest(message: str, options: Sequence[str]) -> str:
    """The message about an unknown command, option or choice, with the most similar one where there is one.

    Of the options of the verb, one that begins with what was given comes first. The message about a value that is no number is
    put in plain words.
    """
    message = message.replace("Value error, ", "").replace(". Did you mean ", "; did you mean ")
    message = _NO_NUMBER.sub(
        lambda found: (
            f"give a {'whole ' if found['kind'] == 'integer' else ''}number without a unit (--help names the unit)"
        ),
        message,
    )
    option, choice = _POSSIBLE.search(message), _CHOICE.search(message)
    given = re.search(r"--[\w-]+", message)
    begun = [] if given is None or "No such option" not in message else [n for n in options if n.startswith(given[0])]
    if begun:
        start = len(message) if option is None else option.start()
        return f"{message[:start]}; did you mean '{min(begun, key=len)}'?"
    if option is not None:
        names = [option["one"]] if option["one"] else option["several"].split(", ")
        nearest = difflib.get_close_matches("" if given is None else given[0], names, n=1, cutoff=0.0)
        return f"{message[: option.start()]}; did you mean '{nearest[0]}'?"
    if choice is not None:
        nearest = difflib.get_close_matches(choice["given"], re.findall(r"'([^']*)'", choice["several"]), n=1)
        return message + (f"; did you mean '{nearest[0]}'?" if nearest else "")
    return message


def _options_of(error: typer.BadParameter) -> list[str]:
    """Long names of the options of the verb that was given a wrong command line."""
    parameters = [] if error.ctx is None else error.ctx.command.params
    return [name for parameter in parameters for name in parameter.opts if name.startswith("--")]


def _several_numbers(error: typer.BadParameter, arguments: Sequence[str]) -> str:
    """The message about an option that takes several numbers and got fewer, or something else; empty for any other error.

    Click takes the next words of the command line, whatever they are.
    """
    parameter = error.param if isinstance(error, typer.BadParameter) else None
    if parameter is None or parameter.nargs < 2:
        return ""
    name = next((name for name in parameter.opts if name in arguments), None)
    if name is None:
        return ""
    first = list(arguments).index(name) + 1
    taken = arguments[first : first + parameter.nargs]
    given = list(itertools.takewhile(lambda word: not word.startswith("-") or _NUMBER.fullmatch(word), taken))
    if len(given) == parameter.nargs and all(map(_NUMBER.fullmatch, given)):
        return ""
    example = " ".join(["2"] * parameter.nargs)
    return f"Invalid value for '{name}': give {parameter.nargs} whole numbers, such as {name} {example}, not '{' '.join(given)}'"


_NUMBER = re.compile(r"-?\d+")


def _value_given(error: typer.BadParameter, arguments: Sequence[str]) -> str:
    """The value an option was given, where the message about it leaves the value out."""
    for option in getattr(getattr(error, "param", None), "opts", ()):
        if option in arguments[:-1]:
            value = arguments[arguments.index(option) + 1]
            return "" if value in error.format_message() else f", not {value!r}"
    return ""


def _of_verb(arguments: Sequence[str]) -> str:
    """`trepid` and the verb of a command line, where it has one."""
    verbs = {command.name for command in app.registered_commands}
    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    return f"trepid {first}" if first in verbs else "trepid"


def main() -> None:
    """Run the command line of this process."""
    code = run(sys.argv[1:])
    if code == ExitCode.INTERRUPTED:
        # At once: to take apart the libraries that were loaded takes the interpreter a good part of a second.
        kill_all()
        threading.excepthook = lambda _: None  # of threads whose worker was killed under them
        atexit._run_exitfuncs()  # temporary folders, and the semaphores of workers
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _log_to_stderr(level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for number, name in ((logging.INFO, "info"), (logging.WARNING, "warning"), (logging.ERROR, "error")):
        logging.addLevelName(number, name)
    logger = logging.getLogger("trepid")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


if __name__ == "__main__":
    main()
