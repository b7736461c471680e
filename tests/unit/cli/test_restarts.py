from cli.restarts import Restarts


def test_wait_doubles_when_a_process_ends_again_and_again() -> None:
    restarts = Restarts(most=10)
    waits = [restarts.wait_s(float(second)) for second in range(7)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_it_is_given_up_when_it_ended_too_often() -> None:
    restarts = Restarts(most=3, within_s=60.0)
    assert [restarts.wait_s(now_s) for now_s in (0.0, 1.0, 2.0, 3.0)] == [0.5, 1.0, 2.0, None]


def test_old_ends_are_forgiven() -> None:
    restarts = Restarts(most=3, within_s=60.0)
    assert [restarts.wait_s(now_s) for now_s in (0.0, 30.0, 61.0, 95.0, 200.0)] == [0.5, 1.0, 1.0, 1.0, 0.5]
