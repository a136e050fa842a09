import json

import pytest

from pipeline.protocol.task import Task
from pipeline.stores.backend.tasks import Board
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.party_ledger import Conflict
from tests.signed_tasks import document


@pytest.fixture
def board(ledger_url):
    one = Board(open_database(ledger_url))
    yield one
    one.close()


def post(board: Board, **changes) -> str:
    text = json.dumps(document(**changes))
    board.post(Task.decode(text), text)
    return text


def test_a_round_keeps_its_first_task(board) -> None:
    members = document()
    text = json.dumps(members)
    assert board.post(Task.decode(text), text)
    assert not board.post(Task.decode(text), text)
    with pytest.raises(Conflict, match="keeps it"):
        post(board, maxMiners=4)
    assert board.newest("task_001") == text


def test_open_are_the_newest_rounds_before_their_deadlines(board) -> None:
    post(board)
    second = post(board, round=2, parentBlockHash="0x" + "11" * 32)
    other = post(board, taskID="another")
    deadline = Task.decode(other).deadline
    assert sorted(board.open_tasks(deadline - 1)) == sorted([second, other])
    assert board.open_tasks(deadline + 10) == []


def test_what_was_never_posted_is_none(board) -> None:
    assert board.newest("nothing") is None
    assert board.open_tasks(0) == []


def test_a_board_outlives_its_process(board, ledger_url) -> None:
    text = post(board)
    again = Board(open_database(ledger_url))
    assert again.newest("task_001") == text
    again.close()
