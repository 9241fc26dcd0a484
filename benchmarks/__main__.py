"""Run the benchmarks: `python -m benchmarks --records 100000 --rounds 5`."""

from benchmarks import growth, hostile, loaddata, notices, outbox, real_product, transfer
from benchmarks.measuring import options

chosen = options(records=100_000, rounds=5)
notices.main()
outbox.main()
transfer.main(chosen.records, chosen.rounds)
loaddata.main(chosen.records // 5)
growth.main(chosen.records * 10)
hostile.main([48, 96, 192], list(hostile.SORTS))
real_product.main(projects=1830, rounds=3)
