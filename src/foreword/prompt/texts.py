"""What two texts have in common at their beginnings and at their ends, in characters."""


def common_prefix(one: str, two: str) -> int:
    """Characters that two texts begin with in common: a binary search of comparisons, each as fast as memory."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(two[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix(one: str, two: str, prefix: int) -> int:
    """Characters that two texts end with in common, behind their first ``prefix`` characters."""
    low, high = 0, min(len(one), len(two)) - prefix
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == two[len(two) - middle : len(two) - low]:
            low = middle
        else:
            high = middle - 1
    return low
