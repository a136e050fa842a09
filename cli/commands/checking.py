"""Commands that check the aggregator: blocks, chains, evidence, rewards."""

from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import Exit
from pipeline.errors import Misconfigured

app = typer.Typer()
evidence = typer.Typer(no_args_is_help=True, help="Blocks that were found INVALID.")
app.add_typer(evidence, name="evidence")


@app.command()
def rewards(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show what each identity was paid: its revealed score and its share of every settled round.

    Example: flfleet rewards --json
    """
    from cli.verification import show_rewards

    show_rewards(home, as_json=json)


@app.command()
def verify(
    block: Annotated[str | None, typer.Argument(help="A block's address.", metavar="BLOCK-URL")] = None,
    chain: Annotated[
        str | None, typer.Option(help="Walk a task's blocks back to its first task.", metavar="TASK")
    ] = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Check an aggregator: every check of a block that a miner makes, or a task's whole chain of blocks. Needs no key.

    Example: flfleet verify http://aggregator:3001/aggregator/blocks/0x..
    """
    from cli.verification import verify_block, verify_chain
    from tasks.logs import configure

    configure()
    if (block is None) == (chain is None):
        raise Misconfigured("verify takes either a block's address or --chain TASK")
    if block is not None:
        holds = verify_block(home, block, as_json=json)
    else:
        assert chain is not None
        holds = verify_chain(home, chain, as_json=json)
    raise typer.Exit(Exit.OK if holds else Exit.FAILED)


@evidence.command("show")
def evidence_show(
    block: Annotated[str | None, typer.Argument(help="Only this block's, whole.", metavar="BLOCK-HASH")] = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Show the blocks that this fleet found INVALID, and what is wrong with each.

    Example: flfleet evidence show 0x5f.. > evidence.json
    """
    from cli.verification import show_evidence

    show_evidence(home, block, as_json=json)
