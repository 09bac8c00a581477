"""Numbers as pictures and the page write them."""

from __future__ import annotations

import math

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """Three digits; a power of ten where there would be many zeros."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        # Without the exponent that "g" takes from 1e3 on.
        text = f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
        return text.replace("-", "−")
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{digits}·{tenth_power(int(exponent))}".replace("-", "−")


def tenth_power(exponent: int) -> str:
    """10 to that, written so."""
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def beside_one(value: float) -> str:
    """As `number`, but with as many digits as it takes to tell it from 1."""
    if value == 1 or not 0.99 <= value <= 1.01:
        return number(value)
    for digits in range(3, 17):
        text = f"{value:.{digits}g}"
        if text != "1":
            return text
    return repr(value)


def percent(share: float) -> str:
    """Two digits at least where there is less than a tenth."""
    if math.isnan(share):
        return number(share)
    if share == 0 or share >= 0.1:
        return f"{100 * share:.0f} %"
    return f"{100 * share:.1f} %" if share >= 5e-4 else "< 0.1 %"
