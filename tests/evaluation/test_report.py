"""How a metric is printed."""

import pytest

from tfgen.evaluation import report


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ((2.46312, 0.01234, "bits/dim"), "2.463 ± 0.012"),
        ((0.14953, 0.00038, "bits/dim"), "0.1495 ± 0.0004"),
        ((81.26, 0.20899, "nats/image"), "81.260 ± 0.209"),
        ((7618.629, 13.002, "nats/image"), "7618.629 ± 13.002"),
        ((0.963, 0.006, "share"), "96.3% ± 0.6%"),
        ((0.9992, 0.0004, "share"), "99.92% ± 0.04%"),
        ((1.0, 0.0, "share"), "100.0%"),
        ((0.768, 0.0, "bits/dim"), "0.768"),
    ],
)
def test_a_standard_error_is_printed_with_a_nonzero_digit(metric, text):
    number, error, unit = metric
    assert report.value({"value": number, "standard_error": error, "unit": unit}) == text
