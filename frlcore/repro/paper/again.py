"""Runs that were trained twice: what another training changes, which an interval over test images cannot hold."""

from __future__ import annotations

from dataclasses import replace

from frlcore.repro import places
from frlcore.repro.paper.records import Record, Results
from frlcore.repro.runs.store import Store


def trained_again(found: Results, method: str, store: Store | None = None) -> Results | None:
    """These records with the second training of a method in the place of its first; None where there is none.

    Second trainings are those of `store`, by default `data/again` of the checkout: the same runs, of the first seed,
    with sums that round otherwise.
    """
    store = store or Store(places.checkout("a run trained twice") / "data" / "again", published=None)
    first = found.records[method][0] if found.records.get(method) else []
    if not first or not all(store.done(one.run.key) for one in first):
        return None
    again = [Record(one.run, store.result(one.run.key) or {}, store.provenance(one.run.key)) for one in first]
    return replace(found, records={**found.records, method: [again]})
