"""What a drawn input is: a description that reads as code, grids in space, voxels, and what the written file means."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
READ, REFUSED, EITHER = "read", "refused", "read or refused"


class Description:
    """Shown as the call that makes it, without what is the default: a failure can be pasted into `rare.py`."""

    def __repr__(self) -> str:
        given = ((field.name, getattr(self, field.name), field.default) for field in fields(self))  # type: ignore[arg-type]
        words = ", ".join(f"{name}={value!r}" for name, value, default in given if value != default)
        return f"{type(self).__name__}({words})"

    def simpler(self) -> Iterator[Any]:
        """The same with one thing less that is odd, in itself or in what it is made of."""
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value != field.default:
                yield replace(self, **{field.name: field.default})  # type: ignore[type-var]
            if isinstance(value, Description):
                yield from (replace(self, **{field.name: part}) for part in value.simpler())  # type: ignore[type-var]


@dataclass(frozen=True, repr=False)
class Grid(Description):
    """A grid of voxels; axes i, j, k run along the axes `order` of RAS, in the directions `signs`, then turned."""

    shape: tuple[int, ...] = (5, 4, 3)
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    order: tuple[int, ...] = (0, 1, 2)
    signs: tuple[int, ...] = (1, 1, 1)
    turn: tuple[float, ...] = (0.0, 0.0, 0.0)
    origin: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def direction(self) -> np.ndarray:
        """Unit vectors of i, j, k in RAS, as columns."""
        return Rotation.from_rotvec(self.turn).as_matrix() @ (np.eye(3)[:, list(self.order)] * self.signs)

    @property
    def affine(self) -> np.ndarray:
        """Index -> RAS mm."""
        return placed(self.direction * self.spacing, self.origin)


PLAIN = Grid()


@dataclass
class Written:
    """An input on disk, and what it means: by the formats' own rules, not by how a library reads it.

    `values` are `(i, j, k)` or `(i, j, k, channels)`, integers, or float64 where the file scales them; `affine` maps
    (i, j, k) to RAS mm. `verdict` is what kseg owes: READ for a file that says all, REFUSED for one that is broken or
    leaves open what decides a mask, EITHER where both are right. `witnesses` are the libraries ("itk", "nib") that
    read it rightly. `slack_mm` is how far a voxel may lie from where `affine` has it, `grain` how far its value may be
    off; `any_type` and `any_place` leave open in which type it is read, and where it lies if it is read at all.
    `beside` names files that are no part of it, `perhaps` those that one may take for a part.
    """

    path: Path
    values: np.ndarray
    affine: np.ndarray
    verdict: str = READ
    witnesses: tuple[str, ...] = ()
    slack_mm: float = 0.0
    grain: float = 0.0
    scaled: bool = False
    channels: int = 1
    any_type: bool = False
    any_place: bool = False
    beside: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    why: str = ""

    def refused(self, why: str) -> None:
        """Nothing can be made of it."""
        self.verdict, self.why = REFUSED, why

    def doubtful(self, why: str) -> None:
        """Refused or read, but no third thing."""
        if self.verdict == READ:
            self.verdict, self.why = EITHER, why

    def judge(self, refused: Mapping[str, bool], doubtful: Mapping[str, bool]) -> None:
        """Take all that is so, each under its reason."""
        for why in (why for why, so in doubtful.items() if so):
            self.doubtful(why)
        for why in (why for why, so in refused.items() if so):
            self.refused(why)

    @property
    def edge_mm(self) -> float:
        """The shortest edge of a voxel."""
        return float(np.linalg.norm(self.affine[:3, :3], axis=0).min())


def placed(columns: np.ndarray, origin: Any) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, origin
    return affine


def positions_mm(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS mm of all voxels, (i, j, k, 3)."""
    return np.moveaxis(np.indices(shape[:3]), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def voxels(shape: tuple[int, ...], dtype: Any, content: str = "distinct", seed: int = 0) -> np.ndarray:
    """Voxels that tell where they belong: distinct as far as the type goes, shuffled.

    "extreme" adds the ends of the type's range; "nan", "infinite", "huge" spoil one voxel; "constant" is one value.
    """
    rng, kind, count = np.random.default_rng(seed), np.dtype(dtype), int(np.prod(shape))
    if content == "constant":
        return np.full(shape, 7, kind)
    if kind.kind == "f":
        array = ((rng.permutation(count) - count // 3) * 1.37).astype(kind)
        spoilt = {"nan": np.nan, "infinite": -np.inf, "huge": 1.6e38, "beyond": 1e300 if kind.itemsize > 4 else np.inf}
        array[count // 2] = spoilt.get(content, array[count // 2])
        if content == "huge":
            array[0] = -1.6e38
        return array.reshape(shape)
    limits, low = np.iinfo(kind), -min(count // 3, 100) if kind.kind == "i" else 0
    array = (rng.permutation(count) % min(count, 120) + low).astype(kind)
    if content == "extreme":
        array[rng.permutation(count)[:2]] = limits.min, limits.max
    return array.reshape(shape)


def content_for(dtype: str, content: str) -> str:
    """The content, where a type can have it: NaN is a float, and floats have no ends here."""
    of_floats, is_float = ("nan", "infinite", "huge", "beyond"), dtype in ("f4", "f8")
    unfit = (content in of_floats and not is_float) or (content == "extreme" and is_float)
    return "distinct" if unfit else content


def numbers(low: float, high: float, digits: int) -> st.SearchStrategy[float]:
    """Numbers of so many decimals, which shrink to short ones."""
    return st.integers(round(low * 10**digits), round(high * 10**digits)).map(lambda n: n / 10**digits)


def triples(one: st.SearchStrategy) -> st.SearchStrategy[tuple]:
    return st.tuples(one, one, one)


edges = st.one_of(
    st.sampled_from([1.0, 0.5, 2.0, 0.277, 0.7421875, 0.3, 3.3, 0.1]), numbers(0.005, 0.1, 4), numbers(0.1, 10, 3)
)
places = st.one_of(st.just(0.0), numbers(-300, 300, 3), st.sampled_from([-1251.2346, 98765.4321, -1e5, 1e-4]))
turns = st.one_of(
    st.just((0.0, 0.0, 0.0)),
    triples(numbers(-3.1, 3.1, 2)),
    st.sampled_from([(3.14159, 0.0, 0.0), (0.0, 0.785398, 0.0), (0.0, 0.0, 1e-5), (1.5707, 0.3, 0.0)]),
)
shapes = st.one_of(
    st.tuples(st.integers(2, 8), st.integers(2, 7), st.integers(2, 6)),
    st.sampled_from([(8, 1, 6), (1, 7, 6), (8, 7, 1), (2, 1, 1), (1, 1, 5)]),
)


def reachable(grid: Grid) -> Grid:
    """The same where float32 numbers, and decimals of ten digits, tell its voxels apart."""
    if max(map(abs, grid.origin)) > 5000 * min(grid.spacing) / 0.1:
        return replace(grid, origin=tuple(mm / 1000 for mm in grid.origin))
    return grid


grids = st.builds(
    Grid,
    shape=shapes,
    spacing=triples(edges),
    order=st.permutations([0, 1, 2]).map(tuple),
    signs=triples(st.sampled_from([1, -1])),
    turn=turns,
    origin=triples(places),
).map(reachable)


def rarely(*values: Any, default: Any = None) -> st.SearchStrategy:
    """The default in most draws, so that most inputs have few things that are odd, or none."""
    usual = max(2, 8 - len(values))
    return st.integers(0, usual).flatmap(lambda n: st.sampled_from(values) if n == usual else st.just(default))


contents = rarely("extreme", "nan", "infinite", "huge", "beyond", "constant", default="distinct")
