"""Ids are looked at together, which passes and refuses what looking at each does."""

from hypothesis import given
from hypothesis import strategies as st

from everglade.errors import InputError
from everglade.index import intake

IDS = st.lists(
    st.one_of(st.text(alphabet="ab\0\n\r\ud800é\U0001f600", max_size=3), st.integers(), st.none()), max_size=4
)


def passes(check):
    try:
        check()
    except InputError:
        return False
    return True


@given(IDS)
def test_ids_are_checked_together_as_they_are_one_by_one(ids):
    one_by_one = all(passes(lambda id=id: intake._check_id(id)) for id in ids)
    assert passes(lambda: intake.check_ids(ids)) == one_by_one
