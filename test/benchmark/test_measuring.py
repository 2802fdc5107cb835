"""Timing in turns."""

from mtl_perception.benchmark.measuring import time_in_turns


def test_functions_are_called_in_turns():
    calls = []
    times = time_in_turns(
        {'a': (lambda: calls.append('a'), 3), 'b': (lambda: calls.append('b'), 2)}, 'test'
    )
    assert ''.join(calls) == 'ababa'
    assert (times['a'].calls, times['b'].calls) == (3, 2)
