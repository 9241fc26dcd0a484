"""Blocks saved and loaded from a test, as a person does in the Prefect UI."""

from typing import TypeVar, cast

from prefect.blocks.core import Block

B = TypeVar("B", bound=Block)


def save_block(block: Block, name: str) -> None:
    """Save a block under a name, over the one that has it."""
    # Prefect's types do not show `_sync`, without which the call may return a coroutine.
    block.save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def load_block(kind: type[B], name: str) -> B:
    """Load a block of a kind."""
    return cast(B, kind.load(name, _sync=True))  # type: ignore[call-arg]
