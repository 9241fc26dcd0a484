"""Run the benchmarks: `python -m benchmarks`."""

from benchmarks import notices

notices.main()
