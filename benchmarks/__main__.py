"""Run the benchmarks: `python -m benchmarks --records 100000 --rounds 5`."""

from benchmarks import growth, loaddata, notices, outbox, transfer
from benchmarks.measuring import options

chosen = options(records=100_000, rounds=5)
notices.main()
outbox.main()
transfer.main(chosen.records, chosen.rounds)
loaddata.main(chosen.records // 5)
growth.main(chosen.records * 10)
