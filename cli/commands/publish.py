"""The command `flfleet publish`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json

app = typer.Typer()


@app.command()
def publish(
    task_id: Annotated[str, typer.Argument(help="The task's name, letters, digits and ._-", metavar="TASK")],
    dataset: Annotated[str, typer.Option(help="Name of the data set that miners must hold.")],
    architecture: Annotated[
        str | None, typer.Option(help="Network by name: cnn, monai:DenseNet121, .. (docs/models-and-data.md).")
    ] = None,
    keyword: Annotated[
        list[str] | None, typer.Option("--keyword", help="NAME=VALUE of the network; repeatable.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="First weights, safetensors or .pt; default: fresh ones.")
    ] = None,
    plan: Annotated[str, typer.Option(help="Share of the coordinates that each round sends.")] = "1.0, then 0.1",
    pack: Annotated[str, typer.Option(help="Coordinates a curve point: a number, or auto for the cheapest.")] = "auto",
    pilot: Annotated[
        Path | None, typer.Option(help="Folder of data sets: a local round there proposes scale and clip.")
    ] = None,
    scale: Annotated[int | None, typer.Option(min=1, help="Integer steps a unit.", show_default="50")] = None,
    clip: Annotated[
        float | None, typer.Option(help="Largest change sent.", show_default="0.06, of batch norm 0.5")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", help="NAME=VALUE of the training (epochs=5), or a .json or .toml file; repeatable."),
    ] = None,
    dp: Annotated[
        list[str] | None,
        typer.Option("--dp", help="Differential privacy: noise=1.1 clip=1.0 (delta=1e-5); repeatable."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Most rounds.")] = 10,
    expected_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Where the task ends; default: after its last round.")
    ] = None,
    min_miners: Annotated[int, typer.Option(min=3, help="Least submissions of a round.")] = 3,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds that a round takes submissions.")] = 3600,
    consortium: Annotated[Path | None, typer.Option(help="consortium.json; default: the one beside the home.")] = None,
    roster: Annotated[Path | None, typer.Option(help="File with the miners' addresses, in place of its.")] = None,
    seed: Annotated[int, typer.Option(help="Of the first weights.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the document; sign and post nothing.")] = False,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Make a task from a model and post it, signed; the publisher's worker then follows its rounds.

    Example: flfleet publish xray-1 --home localnet/publisher --architecture cnn --dataset mnist --pilot data --rounds 5
    """
    from cli.assignments import assignments
    from cli.publishing import Source, training_of
    from cli.publishing import publish as publish_task
    from cli.round_plan import parse_pack, parse_plan
    from cli.task_document import Wanted

    wanted = Wanted(
        task_id=task_id,
        dataset=dataset,
        rounds=rounds,
        min_miners=min_miners,
        shares=parse_plan(plan),
        pack=parse_pack(pack),
        expected_accuracy=expected_accuracy,
        training=training_of(assignments("--recipe", recipe or []), assignments("--dp", dp or [])),
        timeout=timeout,
    )
    source = Source(
        architecture=architecture,
        keywords=assignments("--keyword", keyword or []),
        checkpoint=checkpoint,
        seed=seed,
    )
    publish_task(
        home,
        wanted,
        source,
        consortium=consortium,
        roster=roster,
        pilot=pilot,
        scale=scale,
        clip=clip,
        dry_run=dry_run,
        as_json=json,
    )
