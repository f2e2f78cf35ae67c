"""Which kinds of requests are large, by what they took."""

from lowtide.kinds import Kinds, kind


def test_a_kind_is_large_after_two_and_no_longer_when_they_get_rare() -> None:
    kinds, wanted = Kinds(), kind({"PATH_INFO": "/report/"})
    assert not kinds.is_large(wanted)
    kinds.note(wanted, 40)
    # The first one may have loaded modules.
    assert not kinds.is_large(wanted)
    kinds.note(wanted, 35)
    assert kinds.is_large(wanted)
    assert kinds.highest_mb(wanted) == 40
    for _ in range(19):
        kinds.note(wanted, 1)
    assert not kinds.is_large(wanted)


def test_a_full_table_forgets_and_does_not_fail() -> None:
    kinds = Kinds()
    for number in range(1000):
        wanted = kind({"PATH_INFO": f"/page-{'x' * (number % 7)}{chr(97 + number % 26)}{chr(65 + number // 26)}"})
        kinds.note(wanted, 40)
        assert kinds.highest_mb(wanted) == 40
