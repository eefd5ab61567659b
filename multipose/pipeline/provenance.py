"""What every product was made from, kept beside it, and whether that still holds.

A folder with products has one `provenance.json`. For each product it records the stage and its version, the hashes of
all inputs, the parameters, and the hash of the product itself. The record is written twice: as "begun" before the stage
touches the product and as "done" after the product has appeared, so that a process that is killed between leaves a
record which says so, and the product is made anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from multipose.documents import read_json
from multipose.errors import FormatError, ProjectError
from multipose.files import SCHEMA_VERSION, check_schema, content_hash, write_text
from multipose.progress import SILENT, Progress

RECORD_NAME = "provenance.json"

State: TypeAlias = Literal["current", "given", "edited", "stale", "interrupted", "missing", "blocked"]
"""current: made from what is there now. given: put there by hand, never overwritten by `run`. edited: made here, then
changed by hand; treated as given. stale, interrupted, missing: to be made. blocked: cannot be made yet."""

_MOST_HASHES = 20_000  # files that a memory of hashes remembers, the newest ones

SETTLED: tuple[State, ...] = ("current", "given", "edited")


@dataclass(frozen=True)
class Product:
    """One thing that a stage makes, with everything it depends on.

    Args:
        stage: name of the stage, which is also the command's.
        version: of the stage; a change of it makes products stale.
        subject: the session, network or recording that it belongs to.
        path: the main file. Its presence decides whether the product exists.
        inputs: files and folders, under the names that messages use.
        facts: hashes of inputs that are a part of a file, under the names that messages use.
        parameters: settings, plain values.
        lacking: what is not there and must be for the stage to run, in words that say what to do.
        sources: names of inputs that come from outside the project's stages (videos, say), also of those that are not
            here; their last word is a view where parameters of that view belong to them.
        damage: why the product cannot be used although it is there, in words; empty if it can.
    """

    stage: str
    version: int
    subject: str
    path: Path
    inputs: Mapping[str, Path]
    facts: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    damage: str = ""


@dataclass(frozen=True)
class Record:
    """What is written down about a product.

    `overrides` are parameters given on the command line for this once, `configured` what multipose.toml said of them.
    """

    stage: str
    version: int
    state: Literal["begun", "done"]
    when: str
    inputs: dict[str, str]
    parameters: dict[str, Any]
    overrides: dict[str, Any]
    content: str
    configured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """Whether a product can be relied on, and if not, why."""

    product: Product
    state: State
    reasons: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """True where nothing needs to be made."""
        return self.state in SETTLED


class Hashes:
    """Content hashes that outlive the process: a file of unchanged size and time is not read again.

    Videos are large; without this every `multipose status` would read all of them.

    Args:
        path: where they are kept.
        others: further memories to look into, which are not written.
    """

    def __init__(self, path: Path, *others: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._others: dict[str, list[Any]] = {}
        self._changed = False
        if path.exists():
            try:
                self._known = _read_hashes(path)
            except FormatError:
                self._changed = True  # a cache: what cannot be read is computed anew
        for other in others:
            if other.exists():
                with suppress(FormatError):
                    self._others |= _read_hashes(other)

    def of(self, place: Path) -> str:
        """Hash of a file, or of a folder's names and contents.

        Raises:
            FormatError: there is no such file.
        """
        if not place.is_file():
            return content_hash(place)
        stat = place.stat()
        key, mark = str(place.resolve()), [stat.st_size, stat.st_mtime_ns]
        for memory in (self._known, self._others):
            known = memory.get(key)
            if known is not None and known[:2] == mark:
                return str(known[2])
        value = content_hash(place)
        self._known.pop(key, None)  # the newest last
        self._known[key] = [*mark, value]
        self._changed = True
        return value

    def save(self) -> None:
        """Write down what was learnt, where that is possible; else the next process reads the files anew."""
        if self._changed:
            newest = dict(list(self._known.items())[-_MOST_HASHES:])
            with suppress(OSError):
                write_text(self._path, json.dumps(newest))
            self._changed = False


def _read_hashes(path: Path) -> dict[str, list[Any]]:
    known = read_json(path)
    if not isinstance(known, dict):
        raise FormatError(f"{path} holds no hashes.")
    for value in known.values():
        if not isinstance(value, list) or [type(item) for item in value] != [int, int, str]:
            raise FormatError(f"{path} holds something else than sizes, times and hashes.")
    return known


def read_records(folder: Path) -> dict[str, Record]:
    """Records of the products in a folder, by file name.

    Raises:
        FormatError: the file of records is not what multipose writes.
    """
    path = folder / RECORD_NAME
    if not path.exists() and not path.is_symlink():
        return {}
    remedy = "Delete it, and the products beside it are taken as given."
    try:
        table = read_json(path)
    except FormatError as error:
        raise FormatError(f"{error} {remedy}") from None
    try:
        check_schema(table["schema_version"], path)
        return {name: _checked_record(Record(**values)) for name, values in table["products"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} is not a record of multipose ({error}). {remedy}") from None


def _checked_record(record: Record) -> Record:
    """A record as it was read, its values of the right kinds; raises TypeError."""
    for name, kind in (
        *((name, dict) for name in ("inputs", "parameters", "overrides", "configured")),
        *((name, str) for name in ("stage", "state", "when", "content")),
    ):
        if not isinstance(getattr(record, name), kind):
            raise TypeError(f"{name} is {getattr(record, name)!r}")
    return record


def _write_record(product: Product, record: Record | None) -> None:
    folder = product.path.parent
    records = {name: asdict(value) for name, value in read_records(folder).items()}
    if record is None:
        records.pop(product.path.name, None)
    else:
        records[product.path.name] = asdict(record)
    text = json.dumps({"schema_version": SCHEMA_VERSION, "products": records}, indent=1, ensure_ascii=False)
    write_text(folder / RECORD_NAME, text + "\n")


def input_hashes(product: Product, hashes: Hashes) -> dict[str, str]:
    """Hashes of everything that a product is made from."""
    return {name: hashes.of(path) for name, path in product.inputs.items()} | dict(product.facts)


@contextmanager
def making(
    product: Product,
    hashes: Hashes,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> Iterator[None]:
    """Record that a product is made while the block runs; the block must leave it at its path, whole.

    `progress` is told of inputs that are not what multipose made of them.

    Raises:
        ProjectError: something that the stage needs is not there, or the block left no product.
    """
    if product.lacking:
        raise ProjectError("\n".join(product.lacking))
    tell_edited(product.inputs.values(), hashes, progress)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    record = Record(
        stage=product.stage,
        version=product.version,
        state="begun",
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        inputs=input_hashes(product, hashes),
        parameters=_plain({**product.parameters, **given}),
        overrides=_plain(given),
        content="",
        configured=_plain({key: product.parameters.get(key) for key in given}),
    )
    before = read_records(product.path.parent).get(product.path.name)
    there = hashes.of(product.path) if product.path.exists() else ""
    _write_record(product, record)
    try:
        yield
        if not product.path.exists():
            raise ProjectError(f"The stage {product.stage} ended without making {product.path}.")
    except (Exception, KeyboardInterrupt) as error:
        resumes = isinstance(error, KeyboardInterrupt) and product.stage == "train"
        if not resumes and there == (hashes.of(product.path) if product.path.exists() else ""):
            _write_record(product, before)  # the product is what it was
        raise
    _write_record(product, Record(**{**asdict(record), "state": "done", "content": hashes.of(product.path)}))
    hashes.save()


def tell_edited(paths: Iterable[Path], hashes: Hashes, progress: Progress) -> None:
    """Tell of products that were changed since multipose made them, by hand or by damage; they are used as they are."""
    for path in paths:
        record = read_records(path.parent).get(path.name) if path.is_file() else None
        if record is not None and record.state == "done" and hashes.of(path) != record.content:
            progress.note(
                f"! {path} was changed since multipose made it, and is used as it is. Delete it to make it anew."
            )


def resumable(product: Product, hashes: Hashes, overrides: Mapping[str, Any] | None = None) -> bool:
    """Whether the product was begun from the same inputs with the same parameters, and not finished."""
    record = read_records(product.path.parent).get(product.path.name)
    return record is not None and record.state == "begun" and _is_of(record, product, hashes, overrides)


def is_made(product: Product, hashes: Hashes, overrides: Mapping[str, Any] | None = None) -> bool:
    """Whether the product is there, made from the same inputs with the same parameters."""
    record = read_records(product.path.parent).get(product.path.name)
    if record is None or record.state != "done" or not product.path.exists() or product.damage:
        return False
    return hashes.of(product.path) == record.content and _is_of(record, product, hashes, overrides)


def _is_of(record: Record, product: Product, hashes: Hashes, overrides: Mapping[str, Any] | None) -> bool:
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    return (
        not product.lacking
        and record.version == product.version
        and record.inputs == input_hashes(product, hashes)
        and record.parameters == _plain({**product.parameters, **given})
    )


def judge(product: Product, hashes: Hashes, upstream: Mapping[Path, Judgement]) -> Judgement:
    """Compare a product's record with what is there now.

    Args:
        upstream: judgements of the products that are inputs of this one, by path.
    """
    unmade = tuple(
        f"{upstream[path].state}: {name}"
        for name, path in product.inputs.items()
        if path in upstream and not upstream[path].settled
    )
    record = read_records(product.path.parent).get(product.path.name)
    if not product.path.exists():
        if product.lacking:
            return Judgement(product, "blocked", product.lacking)
        interrupted = record is not None and record.state == "begun"
        reasons = (f"begun {record.when} and not finished",) if record and interrupted else unmade
        return Judgement(product, "interrupted" if interrupted else "missing", reasons)
    if record is None:
        return Judgement(product, "given", ("there is no record of how it was made",))
    if record.state == "begun":
        return Judgement(product, "interrupted", (f"begun {record.when} and not finished",))
    if product.damage:
        return Judgement(product, "missing", (product.damage,))
    if hashes.of(product.path) != record.content:
        return Judgement(product, "edited", ("changed by hand since it was made",))
    away = tuple(name for name in record.inputs if _is_away(name, product))
    reasons = (*_compare(product, record, hashes, away), *unmade)
    told = tuple(f"source not here: {name}" for name in away)
    return Judgement(product, "stale" if reasons else "current", (*reasons, *told))


def _is_away(name: str, product: Product) -> bool:
    """Whether a source that a product was made from is not here: moved, or on a disk that is not connected.

    What it says is known from the product's record, so that the product is no worse for it.
    """
    if name not in product.sources or name in product.facts:
        return False
    return name not in product.inputs or not product.inputs[name].exists()


def _compare(product: Product, record: Record, hashes: Hashes, away: Iterable[str]) -> tuple[str, ...]:
    reasons = []
    if record.version != product.version:
        reasons.append(f"the stage {product.stage} is now version {product.version}, was {record.version}")
    for name, path in product.inputs.items():
        if name in away:
            continue
        if not path.exists():
            reasons.append(f"gone: {name}")
        elif name not in record.inputs:
            reasons.append(f"new: {name}")
        elif hashes.of(path) != record.inputs[name]:
            reasons.append(f"changed: {name}")
    for name, value in product.facts.items():
        if record.inputs.get(name) != value:
            reasons.append(f"changed: {name}" if name in record.inputs else f"new: {name}")
    dropped = sorted(set(record.inputs) - set(product.inputs) - set(product.facts) - set(away))
    reasons.extend(f"no longer used: {name}" for name in dropped)
    now = _plain({**product.parameters, **record.overrides})
    never = set(product.sources) - set(record.inputs) - set(product.inputs) - set(product.facts)
    idle = {f"view.{name.rpartition(' ')[2]}" for name in never} - set(record.parameters)  # views that came later
    for key in sorted((set(now) | set(record.parameters)) - idle):
        old, new = record.parameters.get(key), now.get(key)
        if old != new:
            reasons.extend(_tell_change(key, old, new))
    for key, old in record.configured.items():
        new = _plain({key: product.parameters.get(key)})[key]
        if new != old:
            reasons.extend(_tell_change(key, old, new, " in multipose.toml"))
    if reasons and record.overrides:
        given = ", ".join(f"{key} = {_brief(value)}" for key, value in record.overrides.items())
        reasons.append(f"of the command line, to be given again: {given}")
    return tuple(reasons)


def _tell_change(key: str, old: Any, new: Any, where: str = "") -> list[str]:
    """What changed in a parameter, in short lines: of a table the values that changed, of a list its members."""
    if isinstance(old, dict) and isinstance(new, dict):
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return [line for name in changed for line in _tell_change(f"{key}.{name}", old.get(name), new.get(name), where)]
    if isinstance(old, list) and isinstance(new, list) and not _is_brief([old, new]):
        added, gone = ([item for item in one if item not in other] for one, other in ((new, old), (old, new)))
        parts = [f"{word} {_brief(items)}" for word, items in (("now also", added), ("no longer", gone)) if items]
        return [f"{key}{where}: {' and '.join(parts) or 'in another order'}"]
    return [f"{key} is now {_brief(new)}{where}, was {_brief(old)}"]


_BRIEF = 40  # characters of a value in a reason


def _is_brief(value: Any) -> bool:
    return len(json.dumps(value, ensure_ascii=False)) <= _BRIEF


def _brief(value: Any) -> str:
    """A value as a reason shows it: "not set" for None, a long one cut."""
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 4].rstrip(' ,')} ..."


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON gives them back, so that records compare equal."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
