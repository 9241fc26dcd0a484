"""The benchmark beside the product's own import and export still runs; no figure counts."""

from real_world import World

from benchmarks.real_product import Bench, measure


def test_the_product_and_we_move_the_same_records(world: World) -> None:
    bench = Bench(world)
    bench.prepare(projects=20)
    assert bench.records > 200
    for outcome in measure(bench, rounds=1):
        assert outcome.times > 0
