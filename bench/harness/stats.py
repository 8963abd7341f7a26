"""Means, medians, confidence intervals and regression lines: the standard library is enough."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    slope: float
    intercept: float
    r2: float

    def at(self, x):
        return self.intercept + self.slope * x


def mean(values):
    return math.fsum(values) / len(values)


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def deviation(values):
    """Standard deviation of the sample (n - 1)."""
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def _beta_fraction(a, b, x):
    """Continued fraction of the incomplete beta function, by the modified Lentz method."""
    tiny = 1e-300
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    result = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            result *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return result


def incomplete_beta(a, b, x):
    """The regularized incomplete beta function I_x(a, b)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
                     + a * math.log(x) + b * math.log1p(-x))
    # The fraction converges quickly on one side of the mean only; symmetry gives the other.
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


def student_t_cdf(t, degrees):
    tail = 0.5 * incomplete_beta(degrees / 2.0, 0.5, degrees / (degrees + t * t))
    return 1.0 - tail if t > 0 else tail


def student_t_quantile(probability, degrees):
    """The t whose lower tail is `probability`."""
    if degrees < 1:
        raise ValueError(f'{degrees} degrees of freedom; at least 1 is needed')
    if not 0.0 < probability < 1.0:
        raise ValueError(f'{probability} is not a probability between 0 and 1')
    low, high = -1.0, 1.0
    while student_t_cdf(low, degrees) > probability:
        low *= 2.0
    while student_t_cdf(high, degrees) < probability:
        high *= 2.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if student_t_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def half_width(values, confidence=0.95):
    """Half the confidence interval of the mean (Student's t); None for fewer than two values."""
    if len(values) < 2:
        return None
    t = student_t_quantile((1.0 + confidence) / 2.0, len(values) - 1)
    return t * deviation(values) / math.sqrt(len(values))


def median_interval(values, confidence=0.95):
    """(low, high) that holds the median with at least `confidence`, whatever the distribution.

    Made of order statistics, since ratios on a machine with fast and slow phases are anything but
    normal. None when there are too few values (under 6 for 95 %).
    """
    ordered = sorted(values)
    n = len(ordered)
    best = None
    outside = 0.0
    for k in range(n // 2):
        # P(fewer than k + 1 values lie below the median), both sides.
        outside += math.comb(n, k) * 0.5 ** n
        if 2.0 * outside > 1.0 - confidence:
            break
        best = (ordered[k], ordered[n - 1 - k])
    return best


def regression(points):
    """The first-degree line of least squares through (x, y) pairs; None if x does not vary."""
    if len(points) < 2:
        return None
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_mean, y_mean = mean(xs), mean(ys)
    sxx = math.fsum((x - x_mean) ** 2 for x in xs)
    if sxx == 0.0:
        return None
    sxy = math.fsum((x - x_mean) * (y - y_mean) for x, y in points)
    syy = math.fsum((y - y_mean) ** 2 for y in ys)
    slope = sxy / sxx
    r2 = 1.0 if syy == 0.0 else sxy * sxy / (sxx * syy)
    return Line(slope, y_mean - slope * x_mean, r2)


def summary(values):
    """One row's figures from the values of its repetitions."""
    return {'mean': mean(values), 'ci95': half_width(values), 'median': median(values),
            'best': max(values), 'worst': min(values), 'n': len(values)}
