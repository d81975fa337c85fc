"""The ``flask quorum`` commands."""

import contextlib
import datetime
import json
import os
import re
import threading
import time
import typing as t

import click
from flask.cli import NoAppException, ScriptInfo

from quorum import mail, tasks
from quorum.config import VARIABLES, Settings, Variable
from quorum.errors import QuorumError, ServiceUnavailableError, UnsupportedError
from quorum.extras import require
from quorum.loading import SERVICES, AppSettings, unload
from quorum.logs import LogSettings
from quorum.parsers import mask_url
from quorum.processes import supervise
from quorum.queues import LOGGER
from quorum.service import Handle
from quorum.state import State, get_state

_JSON_HELP: t.Final = "Print JSON, for other programs."


class Command(click.Command):
    """A command in the app's context, in which quorum's errors become messages."""

    def invoke(self, ctx: click.Context) -> t.Any:
        """Run the command; errors of an app that fails to load are messages too."""
        try:
            with ctx.ensure_object(ScriptInfo).load_app().app_context():
                return super().invoke(ctx)
        except QuorumError as error:
            raise click.ClickException(str(error)) from error
        except NoAppException as error:
            # Flask shows an ImportError, which some of ours are, with its traceback.
            if isinstance(error.__context__, QuorumError):
                raise click.ClickException(str(error.__context__)) from error
            raise


@click.group("quorum")
def group() -> None:
    """See what quorum has wired up, and whether it works."""


@group.command("config", cls=Command)
@click.option("--example", is_flag=True, help="Print a .env file, all commented out.")
@click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
def show_config(example: bool, as_json: bool) -> None:
    """Show every variable, its value, and where that came from."""
    if example:
        click.echo(_example(), nl=False)
        return
    state = get_state()
    rows = [_describe(state, VARIABLES[name]) for name in sorted(VARIABLES)]
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
        return
    columns = ("name", "value", "source", "default")
    table = [columns, *([_show(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@group.command("check", cls=Command)
@click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
def check(as_json: bool) -> None:
    """Ask every configured service for an answer; exit with 1 if one fails."""
    state = get_state()
    rows = []
    for service in SERVICES:
        row = _check(state.handle(service))
        rows.append(row)
        if not as_json:
            took = "" if row["seconds"] is None else f"{row['seconds'] * 1000:.0f} ms"
            cells = (f"{row['service']:8}", f"{row['status']:14}", f"{took:>8}")
            click.echo(
                f"{'  '.join(cells)}  {row['error'] or row['address'] or ''}".rstrip()
            )
    if as_json:
        click.echo(json.dumps(rows, indent=2, default=str))
    if any(row["status"] == "failed" for row in rows):
        click.get_current_context().exit(1)


@group.command("mail", cls=Command)
@click.option(
    "--to",
    "to",
    required=True,
    multiple=True,
    metavar="ADDRESS",
    help="Whom to send it to; may be repeated.",
)
@click.option(
    "--sender", metavar="ADDRESS", help="Whom it is from, if not SMTP_SENDER."
)
@click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
def send_test_mail(to: tuple[str, ...], sender: str | None, as_json: bool) -> None:
    """Send a test message, and say what happened; exit with 1 if it failed."""
    state = get_state()
    address = state.handle(mail.SERVICE).engine.address
    start = time.perf_counter()
    message = mail.send_mail(
        subject=f"Test message of {state.name}",
        sender=sender,
        receivers=to,
        data=f"{state.name} can send mail: this came by {address}.",
    )
    sent = {
        "from": message["From"],
        "to": list(to),
        "by": address,
        "message_id": message["Message-ID"],
        "seconds": round(time.perf_counter() - start, 4),
    }
    if as_json:
        click.echo(json.dumps(sent, indent=2))
    else:
        click.echo(
            "Sent from {from} to {} by {by}".format(", ".join(to), **sent), nl=False
        )
        click.echo(" in {seconds:.2f} s, as {message_id}.".format(**sent))


@group.command("setup", cls=Command)
@click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
def setup_models(as_json: bool) -> None:
    """Make the indexes of the model classes; exit with 1 if one cannot be."""
    module = get_state().models
    models = require("quorum.models:find_model_classes")(module) if module else []
    rows = []
    for model in models:
        row = _setup(model)
        rows.append(row)
        if not as_json:
            done = ", ".join(row["indexes"]) or "no indexes"
            click.echo(f"{row['model']:16}  {row['status']:6}  {row['error'] or done}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not models:
        click.echo("There are no model classes; load(models=…) names their module.")
    if any(row["status"] == "failed" for row in rows):
        click.get_current_context().exit(1)


def _setup(model: t.Any) -> dict[str, t.Any]:
    """Make the indexes of a model, and return what happened."""
    row = {"model": model.__name__, "collection": model.collection_name}
    try:
        return {**row, "status": "ok", "indexes": model.setup(), "error": None}
    except QuorumError as error:
        return {**row, "status": "failed", "indexes": [], "error": str(error)}


@group.command("worker", cls=Command)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many processes run tasks.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="How many threads each of them has.",
)
def run_worker(processes: int, threads: int) -> None:
    """Run the tasks of the app's queue, until SIGTERM."""
    state = get_state()
    try:
        tasks.get_broker(state).ping()
    except ServiceUnavailableError as error:
        LOGGER.warning("The worker begins all the same: %s", error)
    finally:
        state.handle(tasks.SERVICE).close()  # each process has connections of its own

    def serve(stop: threading.Event) -> None:
        tasks.get_broker(state).work(state, threads, stop)
        unload(app=state.app)

    if not hasattr(os, "fork"):
        raise UnsupportedError("flask quorum worker on this system", "It needs fork().")
    text = f"Running the tasks of '{state.name}': {processes} x {threads} threads."
    click.echo(text, err=True)
    supervise(processes, serve)


@group.command("jobs", cls=Command)
@click.argument("job", required=False)
@click.option("--retry", is_flag=True, help="Put the task JOB back into the queue.")
@click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
def list_jobs(job: str | None, retry: bool, as_json: bool) -> None:
    """List the tasks that were given up, or show the one called JOB."""
    state = get_state()
    broker = tasks.get_broker(state)
    letters = [item for item in broker.list_letters(state) if job in (None, item.id)]
    if job is not None and not letters:
        raise click.ClickException(f"There is no dead letter '{job}'.")
    if retry:
        if job is None:
            raise click.UsageError("--retry needs the JOB to put back.")
        broker.put_back(state, letters[0])
        click.echo(f"The task '{letters[0].name}' is in the queue again.")
    elif as_json:
        click.echo(json.dumps([item._asdict() for item in letters], indent=2))
    elif job is not None:
        click.echo(f"task    {letters[0].name}\ngiven up  {_when(letters[0])}")
        for name, value in letters[0].job.items():
            click.echo(f"{name:8}  {value}")
    else:
        for item in letters:
            click.echo(f"{item.id}  {_when(item)}  {item.name}: {item.reason}")


def _when(letter: tasks.Letter) -> str:
    moment = datetime.datetime.fromtimestamp(letter.moment, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if letter.moment else "-"


def _describe(state: State, variable: Variable[t.Any]) -> dict[str, t.Any]:
    """Return the facts of a variable, and its value unless it is a secret."""
    value, _, source = state.overrides.get(variable.name) or state.find(variable)
    default = variable.default if variable.has_default else None
    return {
        "name": variable.name,
        "value": _mask(value, variable.secret),
        "source": source,
        "default": _mask(default, variable.secret),
        "type": variable.parser.type_name,
        "secret": variable.secret,
        "since": variable.since,
        "aliases": variable.aliases,
        "help": variable.help,
    }


def _show(value: object) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mask(value: object, secret: bool) -> object:
    if secret:
        return None if value is None else "***"
    return mask_url(value) if isinstance(value, str) else value


def _example() -> str:
    """Return a ``.env`` file in which every variable is explained and commented out."""
    first: list[type[Settings]] = [
        AppSettings,
        LogSettings,
        *(service.settings for service in SERVICES),
    ]
    groups: dict[type[Settings] | None, list[Variable[t.Any]]]
    groups = {owner: list(owner.variables) for owner in first}
    for variable in VARIABLES.values():
        if variable.owner not in first:
            groups.setdefault(variable.owner, []).append(variable)
    blocks = []
    for owner, variables in groups.items():
        title = (owner.__doc__ if owner else None) or "Other variables."
        blocks.append(f"## {title.strip().partition(chr(10))[0]}\n")
        blocks.extend(_example_of(variable) for variable in variables)
    return "\n".join(blocks)


def _example_of(variable: Variable[t.Any]) -> str:
    notes = [f"It is {variable.parser.expects}."]
    if variable.aliases:
        notes.append(f"Also {', '.join(variable.aliases)}.")
    if variable.secret:
        notes.append(f"Secret; {variable.name}_FILE may name a file that holds it.")
    default = ""
    if variable.has_default and variable.default is not None and not variable.secret:
        default = _show(variable.default)
        if not re.fullmatch(r"[\w./:@%+,-]*", default):
            default = json.dumps(default, ensure_ascii=False)
    return f"# {variable.help}\n# {' '.join(notes)}\n#{variable.name}={default}\n"


def _check(handle: Handle[t.Any, t.Any]) -> dict[str, t.Any]:
    """Ping a service, and return what happened."""
    row: dict[str, t.Any] = {
        "service": handle.service.name,
        "status": "not configured",
        "address": None,
        "seconds": None,
        "error": None,
    }
    if not handle.configured:
        return row
    start = time.perf_counter()
    with contextlib.suppress(QuorumError):  # which it raises again when it is asked
        row["address"] = handle.engine.address
    error = handle.ask()
    row["seconds"] = round(time.perf_counter() - start, 4)
    row["status"] = "failed" if error else "ok"
    row["error"] = str(error) if error else None
    return row
