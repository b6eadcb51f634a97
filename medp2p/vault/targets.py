"""Places with a name to release into: decided once, used by many decisions.

Source: docs/CLI.md, "Targets".
"""

from dataclasses import dataclass

from medp2p.errors import ConflictError, NotFoundError
from medp2p.vault.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRow:
    """One named target.

    Attributes:
        name: As people call it.
        target: "folder:DIR".
        created_ms: Milliseconds since 1970 UTC.
        created_by: Account that made it.
    """

    name: str
    target: str
    created_ms: int
    created_by: str


_SELECT = "SELECT name, target, created_ms, created_by FROM targets"


def add(tx: Tx, row: TargetRow) -> None:
    """Add a target.

    Raises:
        ConflictError: The name is taken: decisions may wait for it, so it never changes.
    """
    if maybe(tx, row.name) is not None:
        raise ConflictError(
            f"a target is called {row.name} already", hint="remove it first, or take another name"
        )
    values = {"name": row.name, "target": row.target}
    tx.insert("targets", {**values, "created_ms": row.created_ms, "created_by": row.created_by})


def maybe(tx: Tx, name: str) -> TargetRow | None:
    """Return a target by its name, or None."""
    row = tx.execute(f"{_SELECT} WHERE name = ?", (name,)).fetchone()
    return None if row is None else _decode(row)


def get(tx: Tx, name: str) -> TargetRow:
    """Return a target by its name.

    Raises:
        NotFoundError: There is none.
    """
    row = maybe(tx, name)
    if row is None:
        raise NotFoundError("no target has that name", hint="`medp2p targets` lists them")
    return row


def all(tx: Tx) -> list[TargetRow]:
    """Return all targets by name."""
    return [_decode(row) for row in tx.execute(f"{_SELECT} ORDER BY name")]


def remove(tx: Tx, name: str) -> TargetRow:
    """Remove a target; return it as it was.

    Raises:
        NotFoundError: There is none.
    """
    row = get(tx, name)
    tx.execute("DELETE FROM targets WHERE name = ?", (name,))
    return row


def _decode(row: tuple[object, ...]) -> TargetRow:
    name, target, created_ms, created_by = row
    return TargetRow(
        name=str(name),
        target=str(target),
        created_ms=int(str(created_ms)),
        created_by=str(created_by),
    )
