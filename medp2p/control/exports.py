"""Checking what `medp2p audit export` printed. Needs no home, no daemon and no vault."""

from collections.abc import Iterable
from typing import Any

from medp2p.audit import chain, export
from medp2p.errors import AuditError


def check_export(lines: Iterable[str]) -> dict[str, Any]:
    """Follow the chain of an export; return ``count`` and ``head``, the hash of its last record.

    Raises:
        AuditError: It is none, or its chain is broken.
    """
    found = chain.verify(export.read_lines(lines))
    if not found.ok:
        raise AuditError(f"the export is broken: {found.text}")
    return {"count": found.count, "head": found.head.hex()}
