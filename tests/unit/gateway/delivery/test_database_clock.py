from gateway.delivery.database_clock import DatabaseClock


def test_the_database_time_is_that_of_the_tick_which_came_fastest() -> None:
    clock = DatabaseClock()
    assert clock.read(1.0) is None
    clock.record(1_000_500_000, 10.7)  # 0.2 s on its way
    assert clock.read(11.0) == 1_000.8
    clock.record(1_001_500_000, 11.5)
    clock.record(1_002_500_000, 12.9)
    assert clock.read(13.0) == 1_003.0


def test_a_clock_that_was_set_back_is_followed_after_ten_ticks() -> None:
    clock = DatabaseClock()
    clock.record(2_000_000_000, 10.0)
    for second in range(10):
        assert clock.read(11.0 + second) == 2_001.0 + second
        clock.record((1_000 + second) * 1_000_000, 11.0 + second)
    assert clock.read(21.0) == 1_010.0


def test_ticks_of_another_generation_start_over() -> None:
    clock = DatabaseClock()
    clock.record(2_000_000_000, 10.0)
    clock.forget()
    assert clock.read(11.0) is None
