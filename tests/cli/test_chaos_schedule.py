from cli.chaos_schedule import LONG_OUTAGE_SECONDS, Kind, schedule


def test_a_seed_gives_the_same_faults_again() -> None:
    assert schedule(7, 60) == schedule(7, 60)
    assert schedule(7, 60) != schedule(8, 60)


def test_every_kind_comes_and_in_time() -> None:
    faults = schedule(1, 120)
    assert {fault.kind for fault in faults} == set(Kind)
    assert faults == sorted(faults)
    assert all(0 <= fault.at <= 120 for fault in faults)
    assert all(fault.at + LONG_OUTAGE_SECONDS <= 120 for fault in faults if fault.kind is Kind.BROKER_LONG)


def test_a_short_run_has_no_outage_that_is_most_of_it() -> None:
    assert {fault.kind for fault in schedule(1, 30)} == set(Kind) - {Kind.BROKER_LONG}


def test_two_minutes_hold_thirty_kills_of_workers() -> None:
    kills = [fault for fault in schedule(3, 120) if fault.kind in (Kind.CHILD, Kind.WORKER, Kind.STOPPED)]
    assert len(kills) >= 30
