"""Address mappings and layouts of KV pages, as named data: which part of an index is which coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from models.datafiles import load_data
from models.dram.spec import DramSpec
from workloads.errors import ChipsmithError, nearest

_FILE = "dram/layouts/mappings.yaml"
COORDINATES = ("pc", "bg", "ba", "row", "col")


@dataclass(frozen=True)
class AddressMapping:
    """Order of the coordinates of a burst.

    Attributes:
        name: of the mapping. description: one line.
        digits: coordinates, the one that changes fastest first: ``pc`` pseudo-channel, ``bg`` bank group, ``ba`` bank
            of the group, ``row``, ``col`` burst of the row. A digit's base is the number of such things.
    """

    name: str
    description: str
    digits: tuple[str, ...]

    def bases(self, spec: DramSpec) -> tuple[int, ...]:
        """How many values each digit has on a device."""
        sizes = coordinate_sizes(spec)
        return tuple(sizes[digit] for digit in self.digits)


@dataclass(frozen=True)
class KvLayout:
    """Where the pages of a KV cache lie.

    Attributes:
        name: of the layout. description: one line. source: who does it so.
        mapping: address mapping within a page.
        page_bytes: of one page (a block of tokens of one head); pages are aligned to it.
    """

    name: str
    description: str
    source: str
    mapping: str
    page_bytes: int


def coordinate_sizes(spec: DramSpec) -> dict[str, int]:
    """Number of values of each coordinate of a device."""
    o = spec.organisation
    sizes = (o.pseudo_channels, o.bank_groups, o.banks_per_group, o.rows, o.bursts_per_row)
    return dict(zip(COORDINATES, sizes, strict=True))


def list_mappings() -> list[str]:
    """Names of the address mappings."""
    return list(load_data(_FILE).content["mappings"])


def list_kv_layouts() -> list[str]:
    """Names of the KV page layouts."""
    return list(load_data(_FILE).content["kv_layouts"])


@cache
def load_mapping(name: str) -> AddressMapping:
    """An address mapping.

    Raises:
        ChipsmithError: an unknown name (nearest offered).
    """
    content = load_data(_FILE).content["mappings"]
    if name not in content:
        raise ChipsmithError("mapping", name, nearest(name, content))
    digits = tuple(content[name]["digits"])
    assert sorted(digits) == sorted(COORDINATES), f"mapping {name} must name each coordinate once"
    return AddressMapping(name, content[name]["description"], digits)


@cache
def load_kv_layout(name: str) -> KvLayout:
    """A layout of KV pages.

    Raises:
        ChipsmithError: an unknown name (nearest offered).
    """
    content = load_data(_FILE).content["kv_layouts"]
    if name not in content:
        raise ChipsmithError("kv_layout", name, nearest(name, content))
    return KvLayout(name=name, **content[name])
