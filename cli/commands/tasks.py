"""The commands `flfleet tasks`."""

from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR

app = typer.Typer(no_args_is_help=True, help="Tasks: what they ask, and a person's word on them (setting `approval`).")
TaskID = Annotated[str, typer.Argument(help="The task's name.", metavar="TASK")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


@app.command("list")
def tasks_list(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """List the tasks that this fleet has runs of, and which wait for your word.

    Example: flfleet tasks list
    """
    from cli.tasks import list_tasks

    list_tasks(home, as_json=json)


@app.command("show")
def tasks_show(task: TaskID, home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show what a task asks, in plain words, or the signed task itself as JSON.

    Example: flfleet tasks show task_025
    """
    from cli.tasks import show_task

    show_task(home, task, as_json=json)


@app.command("approve")
def tasks_approve(
    task: TaskID,
    further: Annotated[
        bool,
        typer.Option("--further-rounds", help="Later rounds too, while parties, roster, training and data set stay."),
    ] = False,
    reason: Reason = "",
    home: Home = DEFAULT_HOME,
) -> None:
    """Let a task's newest round train; the next sweep sends its runs on their way.

    Example: flfleet tasks approve task_025 --further-rounds
    """
    from cli.tasks import decide
    from pipeline.stores.fleet.approvals import Verdict

    moved = decide(home, task, Verdict.APPROVED, further=further, reason=reason)
    ERR.print(f"{task} approved; {moved} runs go on their way")


@app.command("refuse")
def tasks_refuse(
    task: TaskID,
    further: Annotated[bool, typer.Option("--further-rounds", help="Later rounds on the same terms too.")] = False,
    reason: Reason = "",
    home: Home = DEFAULT_HOME,
) -> None:
    """Refuse a task's newest round: its waiting runs are given up before anything was trained.

    Example: flfleet tasks refuse task_025 --reason "not covered by the consent"
    """
    from cli.tasks import decide
    from pipeline.stores.fleet.approvals import Verdict

    moved = decide(home, task, Verdict.REFUSED, further=further, reason=reason)
    ERR.print(f"{task} refused; {moved} runs given up")
