"""When the contacts table is read again."""

from crm_sync.daemon.obstacles import MOST_TICKS, Obstacles

BREVO = frozenset({"brevo"})


def looks(obstacles, ticks):
    return [tick for tick in range(1, ticks + 1) if obstacles.is_to_look(changed=False)]


def test_without_an_obstacle_only_a_change_is_looked_at():
    obstacles = Obstacles()
    assert looks(obstacles, 100) == []
    assert obstacles.is_to_look(changed=True)


def test_an_obstacle_is_looked_at_at_once_and_then_more_and_more_rarely():
    obstacles = Obstacles()
    obstacles.add(BREVO)
    assert looks(obstacles, 46) == [1, 2, 4, 8, 16, 26, 36, 46]
    assert MOST_TICKS == 10


def test_a_change_and_another_obstacle_begin_anew():
    obstacles = Obstacles()
    obstacles.add(BREVO)
    looks(obstacles, 30)
    assert obstacles.is_to_look(changed=True)
    assert looks(obstacles, 2) == [1, 2]
    looks(obstacles, 30)
    obstacles.add(BREVO)
    assert looks(obstacles, 1) == [], "it is known"
    obstacles.add(frozenset({"hubspot"}))
    assert looks(obstacles, 1) == [1]


def test_one_that_is_gone_is_looked_at_no_more():
    obstacles = Obstacles()
    obstacles.add(BREVO)
    looks(obstacles, 1)
    obstacles.found(frozenset())
    assert looks(obstacles, 100) == []
