from cli.chaos_schedule import Kind
from cli.chaos_watch import Place, Recovery, View, has_work, progress

OWNER = "host|boot|77|1"


def view(at: float, **places: Place) -> View:
    return View(at=at, runs=places, verdicts=0, keys=0, unjudged=0, closing=0)


def queued(stage: str, token: int = 0) -> Place:
    return Place("queued", stage, token, None)


def recovery(before: View, pools: tuple[str, ...] = (), hit: tuple[str, ...] = ()) -> Recovery:
    places = {name: before.runs[name] for name in hit}
    return Recovery(kind=Kind.CHILD, pools=pools, hit=places, since=before.at, before=before)


def test_a_run_that_was_hit_counts_until_it_moves_whatever_others_do() -> None:
    before = view(10, a=Place("running", "train", 3, OWNER), b=queued("train"))
    waited = recovery(before, ("train",), ("a",))
    waited.look(view(11, a=before.runs["a"], b=Place("running", "train", 1, OWNER)))
    assert waited.measured is None
    waited.look(view(14, a=Place("running", "train", 4, OWNER), b=queued("compress", 1)))
    assert waited.measured == 4


def test_a_pool_without_a_hit_run_recovers_with_its_next_claim_or_commit() -> None:
    before = view(10, a=queued("train"), b=queued("fetch"))
    waited = recovery(before, ("train",))
    waited.look(view(11, a=queued("train"), b=queued("data", 1)))
    assert waited.measured is None
    waited.look(view(12, a=queued("compress", 1), b=queued("data", 1)))
    assert waited.measured == 2


def test_idle_time_is_not_recovery() -> None:
    waited = recovery(view(10), ("fetch",))
    waited.look(view(50, a=queued("fetch")))
    waited.look(view(51, a=queued("data", 1)))
    assert waited.measured == 1


def test_a_pool_without_work_is_not_measured_and_holds_nobody_up() -> None:
    waited = recovery(view(10, a=queued("fetch")), ("fetch", "train"))
    waited.look(view(12, a=queued("data", 1)))
    assert waited.measured == 2


def test_the_process_of_a_run_is_known_while_it_works() -> None:
    assert Place("running", "train", 1, OWNER).pid == 77
    assert Place("waiting", "train", 1, None).pid is None


def test_progress_grows_with_every_stage_and_every_end() -> None:
    views = [
        view(1, a=queued("fetch"), b=queued("fetch")),
        view(2, a=queued("data"), b=Place("running", "fetch", 1, OWNER)),
        view(3, a=Place("rejected", "data", 1, None), b=queued("submit")),
        view(4, a=Place("rejected", "data", 1, None), b=Place("accepted", None, 1, None)),
    ]
    assert [progress(each) for each in views] == [0, 1, 8, 10]


def test_while_the_broker_is_away_nobody_is_late() -> None:
    before = view(10, a=Place("running", "train", 3, OWNER))
    waited = recovery(before, ("train",), ("a",))
    waited.look(view(11, a=before.runs["a"]))
    waited.hold_up(50)
    waited.look(view(52, a=Place("running", "train", 4, OWNER)))
    assert (waited.measured, waited.held_up) == (2, True)


def test_the_parties_have_work_while_a_submission_or_a_round_waits() -> None:
    idle = View(at=1, runs={"a": queued("train")}, verdicts=0, keys=0, unjudged=0, closing=0)
    judging, closing = (
        View(at=1, runs={}, verdicts=0, keys=0, unjudged=unjudged, closing=closing)
        for unjudged, closing in ((1, 0), (0, 1))
    )
    assert [has_work(each, "aggregate") for each in (idle, judging, closing)] == [False, True, True]
    assert [has_work(each, "publish") for each in (idle, judging, closing)] == [False, False, True]
