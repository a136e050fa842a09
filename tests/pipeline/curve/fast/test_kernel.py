"""Both kernels against libsecp256k1, and against points that somebody chose to hurt."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import coincurve
import numpy as np
import pytest

from pipeline.curve.contract import Points, Q
from pipeline.curve.fast import processor
from pipeline.curve.fast.kernel import GENERATOR, BatchKernel
from pipeline.curve.fast.single import add, from_points, multiply, negative, to_points
from pipeline.errors import Malformed, Misconfigured

KEY = coincurve.PrivateKey.from_int(0x5EC12E7)
BASE = KEY.public_key.format()
BASE_POINT = KEY.public_key.point()
H33 = bytes([2 + GENERATOR[1] % 2]) + GENERATOR[0].to_bytes(32, "big")


def scalars(numbers: list[int]) -> np.ndarray:
    return np.frombuffer(b"".join(k.to_bytes(32, "little") for k in numbers), np.uint64).reshape(-1, 4)


def random_scalars(count: int, seed: int = 1) -> np.ndarray:
    words = np.random.default_rng(seed).integers(0, 2**64, (count, 4), np.uint64)
    words[:, 3] >>= np.uint64(1)
    return words


@pytest.fixture(scope="module")
def encrypted(kernel: BatchKernel) -> Points:
    return kernel.encrypt(BASE, random_scalars(300), np.arange(-150, 150))


class TestEncrypt:
    EDGES = (0, 1, 2, Q - 1, Q - 2, Q // 2, 2**255)
    VALUES = (0, 1, -1, 2**15, -(2**15) - 1, 2**25 - 2**12, -(2**25), 2**40, -(2**40))

    def test_edges_of_masks_and_values(self, kernel: BatchKernel) -> None:
        pairs = [(mask, value) for mask in self.EDGES for value in self.VALUES]
        points = kernel.encrypt(BASE, scalars([p[0] for p in pairs]), np.array([p[1] for p in pairs]))
        assert from_points(points) == [add(multiply(m, BASE_POINT), multiply(v, GENERATOR)) for m, v in pairs]

    def test_mask_and_value_that_cancel_give_infinity(self, kernel: BatchKernel) -> None:
        points = kernel.encrypt(H33, scalars([Q - 5, 5, 3, 0]), np.array([5, -5, 3, 0]))
        assert from_points(points) == [None, None, multiply(6, GENERATOR), None]

    def test_random_coordinates_agree_with_libsecp256k1(self, kernel: BatchKernel, expected: tuple[int, bytes]) -> None:
        count, encoded = expected
        points = kernel.encrypt(BASE, random_scalars(count, 7), random_values(count))
        assert kernel.write_points32(points) == encoded
        assert (kernel.read_points32(encoded, count) == points).all()

    def test_a_long_value_among_short_ones(self, kernel: BatchKernel) -> None:
        values = np.ones(kernel._adder.chunk + 3, np.int64)
        values[5] = -(2**40)
        points = kernel.encrypt(BASE, random_scalars(len(values)), values)
        short = kernel.encrypt(BASE, random_scalars(len(values)), np.ones_like(values))
        assert (points != short).any(axis=1).nonzero()[0].tolist() == [5]

    def test_nothing_gives_nothing(self, kernel: BatchKernel) -> None:
        assert kernel.encrypt(BASE, random_scalars(0), np.zeros(0, np.int64)).shape == (0, 8)

    def test_values_beyond_40_bits_are_refused(self, kernel: BatchKernel) -> None:
        with pytest.raises(ValueError, match=r"2\^40"):
            kernel.encrypt(BASE, random_scalars(1), np.array([2**40 + 1]))

    def test_a_base_that_is_no_point_is_refused(self, kernel: BatchKernel) -> None:
        with pytest.raises(Malformed):
            kernel.encrypt(b"\x02" + bytes(32), random_scalars(1), np.array([1]))


def random_values(count: int) -> np.ndarray:
    """Drawn from 2,000 different ones, so that libsecp256k1 has fewer multiples of H to make."""
    rng = np.random.default_rng(7)
    return rng.choice(rng.integers(-(2**24), 2**24, 2_000), count)


@pytest.fixture(scope="session")
def expected() -> tuple[int, bytes]:
    """points32 of 100,000 random coordinates by libsecp256k1."""
    count = 100_000
    masks = [int.from_bytes(row.tobytes(), "little") for row in random_scalars(count, 7)]
    values = random_values(count).tolist()
    generator = coincurve.PublicKey(H33)
    multiples = {value: generator.multiply((value % Q).to_bytes(32, "big")) for value in set(values)}
    xs, parities = [], []
    for mask, value in zip(masks, values, strict=True):
        masked = coincurve.PrivateKey.from_int(mask * KEY.to_int() % Q).public_key
        point = coincurve.PublicKey.combine_keys([masked, multiples[value]]).format()
        xs.append(point[1:])
        parities.append(point[0] & 1)
    return count, b"".join(xs) + np.packbits(np.array(parities, np.uint8), bitorder="little").tobytes()


class TestPoints32:
    @pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 15, 16, 17, 300])
    def test_what_was_written_is_read(self, kernel: BatchKernel, encrypted: Points, count: int) -> None:
        data = kernel.write_points32(encrypted[:count])
        assert len(data) == 32 * count + -(-count // 8)
        assert (kernel.read_points32(data, count) == encrypted[:count]).all()

    def test_both_parities_are_kept(self, kernel: BatchKernel) -> None:
        pair = to_points([BASE_POINT, negative(BASE_POINT)])
        assert (kernel.read_points32(kernel.write_points32(pair), 2) == pair).all()

    @pytest.mark.parametrize(
        "x", [b"\xff" * 32, (2**256 - 2**32 - 977).to_bytes(32, "big"), (5).to_bytes(32, "big"), bytes(32)]
    )
    def test_the_first_bad_point_is_named(self, kernel: BatchKernel, encrypted: Points, x: bytes) -> None:
        data = bytearray(kernel.write_points32(encrypted))
        data[32 * 17 : 32 * 18] = x
        data[32 * 99 : 32 * 100] = x
        with pytest.raises(Malformed, match=r"x at index 17 is (not below p|on no point)"):
            kernel.read_points32(bytes(data), 300)

    def test_spare_bits_and_other_lengths_are_refused(self, kernel: BatchKernel, encrypted: Points) -> None:
        data = kernel.write_points32(encrypted[:3])
        with pytest.raises(Malformed, match="spare"):
            kernel.read_points32(data[:-1] + bytes([data[-1] | 8]), 3)
        for wrong in (data[:-1], data + b"\0", b""):
            with pytest.raises(Malformed, match="97 bytes"):
                kernel.read_points32(wrong, 3)

    def test_infinity_has_no_encoding(self, kernel: BatchKernel, encrypted: Points) -> None:
        points = encrypted[:5].copy()
        points[3] = 0
        with pytest.raises(Malformed, match="infinity at index 3"):
            kernel.write_points32(points)


class TestWeightedSum:
    @staticmethod
    def weights(numbers: list[int]) -> np.ndarray:
        return np.frombuffer(b"".join(w.to_bytes(16, "little") for w in numbers), np.uint64).reshape(-1, 2)

    @pytest.mark.parametrize("count", [0, 1, 2, 40, 300])
    def test_random_points(self, kernel: BatchKernel, encrypted: Points, count: int) -> None:
        rho = [int.from_bytes(row.tobytes()[:16], "little") for row in random_scalars(count, 3)]
        masks = [int.from_bytes(row.tobytes(), "little") for row in random_scalars(300)]
        mask = sum(w * m for w, m in zip(rho, masks, strict=False))
        value = sum(w * v for w, v in zip(rho, range(-150, 150), strict=False))
        total = kernel.weighted_sum(encrypted[:count], self.weights(rho))
        assert from_points(total) == [add(multiply(mask, BASE_POINT), multiply(value, GENERATOR))]

    @pytest.mark.parametrize("weight", [0, 1, 2, 2**64, 2**127, 2**128 - 1])
    def test_edges_of_weights(self, kernel: BatchKernel, encrypted: Points, weight: int) -> None:
        total = kernel.weighted_sum(encrypted[:3], self.weights([weight, 0, weight]))
        first, _, third = from_points(encrypted[:3])
        assert from_points(total) == [multiply(weight, add(first, third))]

    def test_equal_opposite_and_infinite_points(self, kernel: BatchKernel) -> None:
        rng = np.random.default_rng(5)
        multiples = rng.integers(-2, 3, 500).tolist()
        points = to_points([multiply(k, BASE_POINT) for k in multiples])
        rho = [int(w) for w in rng.integers(0, 6, 500)]
        total = kernel.weighted_sum(points, self.weights(rho))
        assert from_points(total) == [multiply(sum(w * k for w, k in zip(rho, multiples, strict=True)), BASE_POINT)]

    def test_several_passes_add_up(
        self, kernel: BatchKernel, encrypted: Points, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rho = random_scalars(300, 9)[:, :2].copy()
        whole = kernel.weighted_sum(encrypted, rho)
        monkeypatch.setattr("pipeline.curve.fast.multiexp.PASS", 64)
        assert (kernel.weighted_sum(encrypted, rho) == whole).all()

    def test_unequal_lengths_are_refused(self, kernel: BatchKernel, encrypted: Points) -> None:
        with pytest.raises(ValueError, match="as many weights"):
            kernel.weighted_sum(encrypted[:2], self.weights([1]))


class TestUnmask:
    def test_hostile_submissions_change_only_their_own_coordinates(self, kernel: BatchKernel) -> None:
        count = 200
        masks = random_scalars(count, 11)
        values = np.arange(count) - 100
        honest = kernel.encrypt(BASE, masks, values)
        others = from_points(honest)
        mask_points = from_points(kernel.encrypt(BASE, masks, np.zeros(count, np.int64)))
        hostile = [multiply(i + 1, BASE_POINT) for i in range(count)]
        hostile[10] = others[10]  # equal to the honest point
        hostile[11] = negative(others[11])  # opposite: the sum is infinite on the way
        hostile[12] = None
        hostile[13] = mask_points[13]
        hostile[14] = negative(add(others[14], negative(mask_points[14])))  # the result is infinite
        hostile[20:28] = [BASE_POINT] * 8  # a whole group of lanes
        unmasked = kernel.unmask([honest, to_points(hostile)], BASE, masks)
        exact = [add(add(u, h), negative(m)) for u, h, m in zip(others, hostile, mask_points, strict=True)]
        assert from_points(unmasked) == exact
        assert exact[14] is None

    def test_repeated_submissions(self, kernel: BatchKernel, encrypted: Points) -> None:
        masks = random_scalars(300)
        unmasked = kernel.unmask([encrypted] * 3, BASE, kernel.add_scalars([masks] * 3))
        assert from_points(unmasked) == [multiply(3 * v, GENERATOR) for v in range(-150, 150)]

    def test_zero_masks_and_no_submission(self, kernel: BatchKernel) -> None:
        assert not kernel.unmask([], BASE, scalars([0, 0, 0])).any()

    def test_other_lengths_are_refused(self, kernel: BatchKernel, encrypted: Points) -> None:
        with pytest.raises(ValueError, match="masks"):
            kernel.unmask([encrypted], BASE, random_scalars(2))


def test_threads_change_nothing(kernel: BatchKernel, cache_dir: Path) -> None:
    threaded = BatchKernel(kernel.name, cache_dir, threads=3)
    count = 3 * kernel._adder.chunk + 17
    masks, values = random_scalars(count), np.arange(count)
    points = kernel.encrypt(BASE, masks, values)
    assert (threaded.encrypt(BASE, masks, values) == points).all()
    data = kernel.write_points32(points)
    assert (threaded.read_points32(data, count) == points).all()


def test_callers_in_several_threads_do_not_meet(kernel: BatchKernel) -> None:
    count = kernel._adder.chunk
    masks = random_scalars(count)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda v: kernel.encrypt(BASE, masks, np.full(count, v)), range(4)))
    for value, points in enumerate(results):
        assert (points == kernel.encrypt(BASE, masks, np.full(count, value))).all()


def _encrypted_in_child(threaded: BatchKernel, queue: "multiprocessing.Queue[bytes]") -> None:
    queue.put(threaded.encrypt(BASE, random_scalars(9000), np.arange(9000)).tobytes())


def test_forked_workers_use_threads_of_their_own(kernel: BatchKernel, cache_dir: Path) -> None:
    threaded = BatchKernel(kernel.name, cache_dir, threads=2)
    points = threaded.encrypt(BASE, random_scalars(9000), np.arange(9000))
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[bytes] = context.Queue()
    children = [context.Process(target=_encrypted_in_child, args=(threaded, queue)) for _ in range(2)]
    for child in children:
        child.start()
    results = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert results == [points.tobytes()] * 2


def test_a_kernel_that_the_processor_lacks_is_refused_before_any_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "features", lambda: {"avx512f": True, "avx512ifma": False})
    assert processor.choose("auto") == "scalar"
    with pytest.raises(Misconfigured, match="avx512ifma"):
        BatchKernel("ifma", None)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(Misconfigured, match="FLFLEET_CURVE_KERNEL"):
        BatchKernel("fast", None)


def test_no_threads_are_refused() -> None:
    with pytest.raises(Misconfigured, match="at least 1 thread"):
        BatchKernel("scalar", None, threads=0)
