"""Points of edwards25519, as far as it takes to say whether a key is one that we accept.

RFC 8032, 5.1. Plain integers, nothing secret, nothing in constant time: no key is ever made and
nothing is ever signed with this.

What this module does not know: signatures, bytes, whose point it is.
"""

from __future__ import annotations

from typing import Final

P: Final = 2**255 - 19
L: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, P - 2, P) % P
_ROOT_OF_MINUS_ONE: Final = pow(2, (P - 1) // 4, P)

# The y coordinates of the eight points whose order divides 8.
_ORDER_8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER_Y: Final = frozenset({0, 1, P - 1, _ORDER_8_Y, P - _ORDER_8_Y})

Point = tuple[int, int, int, int]  # extended coordinates X, Y, Z, T with X*Y = Z*T
NEUTRAL: Final[Point] = (0, 1, 1, 0)


def point_of(y: int, sign: int) -> Point | None:
    """RFC 8032, 5.1.3. The neutral element, where a sign means nothing, was refused before."""
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == P - u:
        x = x * _ROOT_OF_MINUS_ONE % P
    if v * x * x % P != u:
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def plus(p: Point, q: Point) -> Point:
    """RFC 8032, 5.1.4: complete, so it doubles as well."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(factor: int, point: Point) -> Point:
    result = NEUTRAL
    while factor:
        if factor & 1:
            result = plus(result, point)
        point = plus(point, point)
        factor >>= 1
    return result
