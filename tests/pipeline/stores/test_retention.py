from types import SimpleNamespace

import pytest

from pipeline.stores.fleet.records import Run, Stage, StageResult, State
from pipeline.stores.retention import Terms, named_by_rounds, named_by_runs
from tests.signed_tasks import make_task

DAY = 24 * 3600.0
TERMS = Terms(ended_seconds=7 * DAY, opening_seconds=30 * DAY)
OPENING_AND_CO = {"opening", "payload", "receipt", "header"}
CARRIED = {"header", "values", "residual", "support"}
MADE = {
    Stage.FETCH: ("model", "support"),
    Stage.TRAIN: ("delta",),
    Stage.COMPRESS: ("values", "residual", "wish"),
    Stage.COMMIT: ("opening",),
    Stage.ENCRYPT: ("header", "ciphertext"),
    Stage.SUBMIT: ("payload", "receipt"),
}


def run_of(task, state=State.ACCEPTED, *, until=Stage.SUBMIT, prefix="", notes=("payload",), updated_at=0.0) -> Run:
    """A run whose stages up to `until` are done; an artifact's digest is its name (with a prefix)."""
    done = [stage for stage in Stage if list(Stage).index(stage) <= list(Stage).index(until)]
    results = [
        StageResult(
            stage=stage,
            artifacts={name: prefix + name for name in MADE.get(stage, ())},
            figures={},
            seconds=0,
            started_at=0,
            finished_at=0,
        )
        for stage in done
    ]
    return Run(
        run_id=f"{task.task_id}/{task.round}",
        task_id=task.task_id,
        round=task.round,
        task_hash=task.task_hash,
        dataset=task.dataset,
        model_sha256="",
        miner="0x",
        miner_name="ward",
        state=state,
        stage=None,
        token=1,
        owner=None,
        attempts=0,
        retry_in=None,
        deadline=task.deadline,
        error=None,
        progress={},
        created_at=0,
        updated_at=updated_at,
        stages=tuple(results),
        notes={name: prefix + name for name in notes},
    )


def named(runs, tasks, days, terms=TERMS) -> set[str]:
    """What is kept so many days after the last deadline."""
    now = max(task.deadline for task in tasks) + days * DAY
    return named_by_runs(runs, {task.task_hash: task for task in tasks}.__getitem__, terms, now)


def test_an_ended_run_keeps_all_for_a_week_then_its_proof_then_nothing():
    task = make_task(maxRounds=1)
    run = run_of(task)
    assert named([run], [task], 6.9) == {name for names in MADE.values() for name in names}
    assert named([run], [task], 7.1) == OPENING_AND_CO
    assert named([run], [task], 30.0) == OPENING_AND_CO
    assert named([run], [task], 31.0) == set()


@pytest.mark.parametrize("state", [state for state in State if state not in (State.QUEUED, State.RUNNING)])
def test_no_haste_of_the_operator_takes_an_opening_before_its_reveal_is_over(state):
    task = make_task(maxRounds=1, timeout=4000)
    hasty = Terms(ended_seconds=0, opening_seconds=0)
    votes_and_reveal = 8000 / DAY
    assert named([run_of(task, state)], [task], votes_and_reveal - 0.001, hasty) >= OPENING_AND_CO
    if state is not State.WAITING:
        assert named([run_of(task, state)], [task], votes_and_reveal, hasty) == set()


def test_a_receipt_that_came_late_lengthens_the_window():
    task = make_task(maxRounds=1)
    late = run_of(task, updated_at=task.deadline + 20 * DAY)
    assert named([late], [task], 45) == OPENING_AND_CO


def test_an_open_run_keeps_everything_however_old():
    task = make_task(maxRounds=1)
    run = run_of(task, State.WAITING, until=Stage.TRAIN, notes=())
    assert named([run], [task], 999) == {"model", "support", "delta"}


def test_a_checkpoint_is_kept_until_the_training_has_committed():
    task = make_task(maxRounds=1)
    training = run_of(task, State.RUNNING, until=Stage.DATA, notes=("checkpoint",))
    trained = run_of(task, State.RUNNING, until=Stage.TRAIN, notes=("checkpoint",))
    assert "checkpoint" in named([training], [task], 0)
    assert "checkpoint" not in named([trained], [task], 0)


def test_the_residual_of_the_latest_submission_waits_for_a_next_round():
    first, second = make_task(maxRounds=3), make_task(round=2, maxRounds=3, parentBlockHash="0x" + "aa" * 32)
    runs = [run_of(first, prefix="1."), run_of(second, prefix="2.")]
    assert named(runs, [first, second], 999) == {f"2.{name}" for name in CARRIED}
    last = make_task(round=2, maxRounds=2, parentBlockHash="0x" + "aa" * 32)
    assert named([run_of(last)], [last], 999) == set()


def test_what_an_open_run_starts_from_is_kept_though_a_later_round_was_sent():
    tasks = [make_task(round=number, maxRounds=3, parentBlockHash="0x" + "aa" * 32) for number in (1, 2, 3)]
    runs = [
        run_of(tasks[0], prefix="1."),
        run_of(tasks[1], State.WAITING, until=Stage.TRAIN, prefix="2.", notes=()),
        run_of(tasks[2], prefix="3."),
    ]
    kept = named(runs, tasks, 999)
    assert {f"1.{name}" for name in CARRIED} <= kept
    assert "3.residual" not in kept


def test_terms_are_not_negative():
    with pytest.raises(ValueError, match="negative"):
        Terms(ended_seconds=-1, opening_seconds=0)


def round_of(task, *, is_over=True, prefix=""):
    names = ("model", "support", "key", "mask_sums", "aggregate", "new_model", "next_support", "audit")
    row = SimpleNamespace(updated_at=0.0, **{name: prefix + name for name in names})
    return SimpleNamespace(task=task, row=row, is_over=is_over)


def kept_by(rounds, days):
    now = max(found.task.deadline for found in rounds) + days * DAY
    return named_by_rounds(rounds, lambda _task, number: {f"{number}.ciphertext"}, TERMS, now)


def test_an_aggregator_serves_ciphertexts_until_the_reveal_is_over():
    (task,) = (make_task(maxRounds=1),)
    assert "1.ciphertext" in kept_by([round_of(task)], 30)
    assert kept_by([round_of(task)], 31) == {"audit", "model", "new_model", "next_support"}
    assert "1.ciphertext" in kept_by([round_of(task, is_over=False)], 999)


def test_only_the_last_rounds_model_stays_for_ever():
    tasks = [make_task(round=number, parentBlockHash="0x" + "aa" * 32) for number in (1, 2)]
    rounds = [round_of(task, prefix=f"{task.round}.") for task in tasks]
    assert kept_by(rounds, 999) == {"1.audit", "2.audit", "2.model", "2.new_model", "2.next_support"}
