"""How measures are shown; what else terminal.py promises is injected in tests/faults/test_terminal.py."""

from ptft.runtime.terminal import decimal


def test_a_measure_that_exploded_is_short():
    assert [decimal(value) for value in (0.12345, -12.3, 1.6896e21)] == ["0.1235", "-12.3000", "1.69e+21"]
    assert [decimal(value, signed=True) for value in (0.5, -3e9)] == ["+0.5000", "-3e+09"]
