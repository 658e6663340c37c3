"""How dimensions are split over the ranks of tensor and expert parallelism (Megatron-LM: columns, then rows)."""

from __future__ import annotations

from workloads.errors import ChipsmithError


def divisors(number: int, most: int = 64) -> list[int]:
    """Divisors of ``number`` up to ``most``, ascending."""
    return [d for d in range(1, min(number, most) + 1) if number % d == 0]


def split(number: int, ranks: int, what: str, where: str = "tensor_parallel") -> int:
    """Share of one rank of ``number`` equal things.

    Raises:
        ChipsmithError: it does not divide; names the legal degrees.
    """
    if ranks < 1 or number % ranks:
        legal = ", ".join(map(str, divisors(number)))
        raise ChipsmithError(where, ranks, f"legal for {number} {what}: {legal}")
    return number // ranks


def split_kv_heads(kv_heads: int, ranks: int) -> int:
    """KV heads of one rank; each is copied to several ranks where there are more ranks than heads.

    Raises:
        ChipsmithError: neither number divides the other.
    """
    if ranks > kv_heads and ranks % kv_heads == 0:
        return 1
    if kv_heads % ranks:
        legal = ", ".join(map(str, divisors(kv_heads)))
        raise ChipsmithError("tensor_parallel", ranks, f"legal for {kv_heads} KV heads: {legal}, or a multiple")
    return kv_heads // ranks


def padded_split(number: int, ranks: int) -> int:
    """Share of one rank, rounded up: vocabularies are padded until they divide."""
    return -(-number // ranks)
