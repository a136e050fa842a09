import pytest

from pipeline.errors import Malformed, Rejected, Retryable
from pipeline.parties import backend
from pipeline.parties.backend import UnreadableTask, open_tasks
from pipeline.protocol.task import Task
from tests.scripted_server import Script, serving
from tests.signed_tasks import document


def ask(*answers):
    with serving(Script(answers=list(answers))) as script:
        tasks = open_tasks(script.url + "/", timeout=5)
    assert script.requests == [("/tasks/open", b"")]
    return tasks


def test_open_tasks_are_read():
    first, second = ask((200, [document(), document(round=2, parentBlockHash="0x" + "0" * 64)], {}))
    assert isinstance(first, Task)
    assert (first.round, second.round) == (1, 2)


def test_one_bad_task_does_not_hide_the_others():
    bad, good, odd, long = ask((200, [document(minMiners=9), document(), 7, {"taskID": "x" * 300_000}], {}))
    assert isinstance(good, Task)
    assert bad == UnreadableTask(
        entry_hash=bad.entry_hash,
        task_id="task_001",
        round=1,
        reasons=("task: 1 <= minMiners <= maxMiners does not hold",),
    )
    assert (odd.task_id, odd.round) == ("", 0)
    assert len(long.task_id) == 64
    assert "larger than" in long.reasons[0]
    assert len({bad.entry_hash, odd.entry_hash, long.entry_hash}) == 3


def test_a_list_without_end_is_cut_and_an_answer_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(backend, "MAX_OPEN_TASKS", 2)
    assert len(ask((200, [1, 2, 3], {}))) == 2
    monkeypatch.setattr(backend, "MAX_LIST_BYTES", 100)
    with pytest.raises(Rejected, match="larger than 100 bytes"):
        ask((200, ["x" * 200], {}))


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((200, {"tasks": []}, {}), Malformed, "expected a list of tasks, got dict"),
        ((200, b"<html>", {}), Malformed, "not valid JSON"),
        ((200, b'[{"a": 1, "a": 2}]', {}), Malformed, "stands twice"),
        ((404, {}, {}), Rejected, "404"),
        ((503, {}, {"Retry-After": "9"}), Retryable, "503"),
    ],
)
def test_an_answer_that_is_no_list(answer, error, words):
    with pytest.raises(error, match=words):
        ask(answer)
