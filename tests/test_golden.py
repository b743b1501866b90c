"""Every method repeats its recorded runs bit for bit; see golden.py for how to record, or to run some by name."""

import pytest

from tests.golden import difference, one_worker_cases, recorded, recording_file, run_alone, run_on_two, two_worker_cases

RECORDED = recorded()
ALONE, SHARED = one_worker_cases(), two_worker_cases()


def test_a_recording_covers_every_run():
    if not RECORDED:
        pytest.skip(f"no recording {recording_file().name}")
    assert RECORDED.keys() == ALONE.keys() | SHARED.keys()


def check(name, outcomes):
    found = difference(RECORDED[name], outcomes)
    assert found is None, found


def before(name):
    if name not in RECORDED:
        pytest.skip(f"not in a recording for this build of torch and this processor: {recording_file().name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_one_worker(name):
    before(name)
    check(name, run_alone(ALONE[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_two_workers(gloo_workers, name):
    before(name)
    check(name, run_on_two(gloo_workers, SHARED[name]))
