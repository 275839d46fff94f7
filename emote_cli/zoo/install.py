"""Put a public model onto this disk: plan it (no byte fetched yet), then carry the plan out, file by file.

By default the files lie in the hub's own cache, where other programs find them too; the model's folder inside
it holds links to them, and the pickles converted to safetensors. With a folder of the user's own everything
is in that folder, and no pickle stays. The lock file is written after every file, so that a broken run loses
nothing that it had.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emote_cli.errors import OutputError, WeightsError
from emote_cli.files import sha256_of
from emote_cli.settings import load_preset
from emote_cli.settings_tree import save_settings
from emote_cli.zoo.catalog import KNOWN_MODELS, HubFile, HubModel, human_size
from emote_cli.zoo.convert import convert
from emote_cli.zoo.locate import SETTINGS_NAME, home
from emote_cli.zoo.lock import Locked, fault, model_of, read_lock, write_lock
from emote_cli.zoo.transfer import Hub, Remote, explain, fetch, look_up, matches, partial_path

_SPARE_BYTES = 1 << 24
_HALF = ".incomplete"


@dataclass(frozen=True, slots=True)
class WantedFile:
    """One file that is still to come.

    Attributes:
        file: what it is for.
        remote: what the hub says of it.
        revision: what the hub was asked for: a branch, a tag or a commit.
    """

    file: HubFile
    remote: Remote
    revision: str


@dataclass(frozen=True, slots=True)
class DownloadPlan:
    """What a download will do.

    Attributes:
        model: what is installed.
        folder: the model's folder.
        cached: whether the files lie in the hub's cache (else in `folder` itself).
        offline: whether the network is left alone.
        kept: paths in the folder that are there already, whole.
        jobs: files to come.
    """

    model: HubModel
    folder: Path
    cached: bool
    offline: bool
    kept: tuple[str, ...]
    jobs: tuple[WantedFile, ...]

    @property
    def fetch_bytes(self) -> int:
        """Bytes that are not on this disk yet."""
        return sum(job.remote.size - _present(_source(self, job)) for job in self.jobs)


@dataclass(frozen=True, slots=True)
class DownloadStep:
    """A step of a download: a part of a file has arrived, or the file is being converted.

    Attributes:
        job: the file.
        doing: which of the two.
        n_bytes: bytes that have arrived since the last step; 0 while converting.
    """

    job: WantedFile
    doing: Literal["fetch", "convert"]
    n_bytes: int = 0


def plan_install(
    model: HubModel,
    hub: Hub,
    folder: Path | None = None,
    revision: str | None = None,
    offline: bool = False,
    restricted: bool = False,
) -> DownloadPlan:
    """Find out what is there, what is to come, and whether it fits on the disk.

    Args:
        model: an entry of the registry.
        hub: where from.
        folder: a folder of the user's own; None means the hub's cache.
        revision: branch, tag or commit of the model's main repository; None means the one recorded in the
            lock file, or `main` at the first download.
        offline: use only what is on this disk.
        restricted: whether the licence of restricted files has been accepted.

    Raises:
        WeightsError: if the hub fails, (offline) files are missing, or the folder is another model's.
        OutputError: if the disk is too small.
    """
    target = folder or home(model.name)
    if model_of(target) not in ("", model.base or model.name):
        raise WeightsError(
            f"{target} already holds the model {model_of(target)}", hint="choose another folder with --dir"
        )
    lock = read_lock(target)
    commits = {locked.repo: locked.commit for locked in lock.values()}
    if revision is not None:
        commits[model.main_repo] = revision
    files = model.files if restricted else model.free_files
    moved = model.main_repo if revision is not None else ""
    kept, jobs, missing = _survey(files, target, lock, commits, moved, None if offline else hub)
    if missing:
        some = ", ".join(missing[:2]) + (", ..." if len(missing) > 2 else "")
        raise WeightsError(
            f"offline, and {len(missing)} files of {model.name} are not on this disk: {some}",
            hint=f"run `emote download {model.name}` where there is a network",
        )
    plan = DownloadPlan(model, target, folder is None, offline, tuple(kept), tuple(jobs))
    _check_space(plan)
    return plan


def install(plan: DownloadPlan, hub: Hub) -> Iterator[DownloadStep]:
    """Carry out a plan.

    Yields:
        What has just been done.

    Raises:
        WeightsError: if a transfer fails for good, a file is damaged, or a pickle holds more than weights.
        OutputError: if the disk is full or not writable.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        for job in plan.jobs:
            yield from _bring(plan, job, hub)
            lock = read_lock(plan.folder)
            lock[job.file.to] = _locked(plan, job)
            write_lock(plan.folder, plan.model.base or plan.model.name, lock)
        _remove_if_empty(plan.folder / _HALF)
        if plan.model.name in KNOWN_MODELS and not plan.model.base:
            save_settings(load_preset(plan.model.name), plan.folder / SETTINGS_NAME)
    except OSError as error:
        raise explain(error, plan.model.name, hub) from error


def _survey(
    files: tuple[HubFile, ...],
    target: Path,
    lock: dict[str, Locked],
    commits: dict[str, str],
    moved: str,
    hub: Hub | None,
) -> tuple[list[str], list[WantedFile], list[str]]:
    """Sort files into those that are whole, those to bring, and those that nobody (hub None: offline) has.

    New files of one repository come from one commit: the first answer fixes it, in `commits` too. Whole files
    are only asked about where another revision of their repository (`moved`) is wanted.
    """
    kept: list[str] = []
    jobs: list[WantedFile] = []
    missing: list[str] = []
    for file in files:
        locked = lock.get(file.to)
        whole = not fault(target / file.to, locked, full=True)
        if whole and file.repo != moved:
            kept.append(file.to)
            continue
        asked = commits.get(file.repo, "main")
        remote = _from_cache(file, asked) if hub is None else _from_hub(hub, file, locked, asked)
        if remote is None:
            missing.append(file.to)
            continue
        _check_known(file, remote)
        commits[file.repo] = remote.commit
        if whole and locked is not None and locked.source_hash == remote.etag:
            kept.append(file.to)
        else:
            jobs.append(WantedFile(file, remote, asked))
    return kept, jobs, missing


def _from_hub(hub: Hub, file: HubFile, locked: Locked | None, revision: str) -> Remote:
    """Ask the hub about a file; what it says of a recorded revision must be what was recorded."""
    if file.url:
        return Remote(file.repo, file.path, file.sha256[:40], file.sha256, file.n_bytes, file.url)
    remote = look_up(hub, file.repo, file.path, revision)
    if locked is not None and remote.commit == locked.commit and remote.etag != locked.source_hash:
        raise WeightsError(
            f"{remote.name} is not the file recorded at revision {locked.commit[:8]}: the hub serves another",
            hint="do not trust this mirror; check HF_ENDPOINT, or choose another revision with --revision",
        )
    return remote


def _check_known(file: HubFile, remote: Remote) -> None:
    """Raise WeightsError where the hub has another file than the one whose sha256 is known beforehand."""
    if file.sha256 and remote.etag != file.sha256:
        raise WeightsError(
            f"{remote.name} is another file than it was: "
            f"its hash is {remote.etag[:12]}..., expected {file.sha256[:12]}...",
            hint="do not trust this mirror: check HF_ENDPOINT; or update emote-cli",
        )


def _from_cache(file: HubFile, revision: str) -> Remote | None:
    """Describe a file that lies whole in the hub's cache, whoever put it there; None if it does not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repo, file.path, cache_dir=_cache(), revision=revision)
    if not isinstance(found, str):
        return None
    blob = Path(found).resolve()
    commit = Path(found).parts[-1 - len(Path(file.path).parts)]
    if len(blob.name) not in (40, 64) or not matches(blob, blob.name):
        return None
    return Remote(file.repo, file.path, commit, blob.name, blob.stat().st_size)


def _bring(plan: DownloadPlan, job: WantedFile, hub: Hub) -> Iterator[DownloadStep]:
    """Fetch one file, verify it, and put it at its place in the model's folder."""
    source, place = _source(plan, job), plan.folder / job.file.to
    if source.is_file() and matches(source, job.remote.etag):
        yield DownloadStep(job, "fetch", 0)
    else:
        for n_bytes in fetch(hub, job.remote, source):
            yield DownloadStep(job, "fetch", n_bytes)
    cached = _is_cached(plan, job)
    pointer = _enter_cache(job, hub, plan.offline) if cached else source
    place.parent.mkdir(parents=True, exist_ok=True)
    if job.file.pickled:
        yield DownloadStep(job, "convert")
        convert(
            source,
            place,
            {"source": f"{job.remote.name}@{job.remote.commit}", "source_hash": job.remote.etag},
        )
        if not cached:
            source.unlink()
    elif cached:
        _link(pointer, place)
    else:
        os.replace(source, place)


def _locked(plan: DownloadPlan, job: WantedFile) -> Locked:
    """The lock entry of a file that has just been put in place and verified."""
    place, remote = plan.folder / job.file.to, job.remote
    known = len(remote.etag) == 64 and not job.file.pickled
    digest = remote.etag if known else sha256_of(place)
    stat = place.stat()
    return Locked(
        remote.repo, remote.path, remote.commit, remote.etag, digest, stat.st_size, stat.st_mtime_ns
    )


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _is_cached(plan: DownloadPlan, job: WantedFile) -> bool:
    """Whether a file lies in the hub's cache, as only the hub's own files do."""
    return plan.cached and not job.remote.url


def _source(plan: DownloadPlan, job: WantedFile) -> Path:
    """Where the hub's bytes of a file come to lie."""
    if not _is_cached(plan, job):
        return plan.folder / _HALF / job.remote.etag
    return _entry(job.remote.repo) / "blobs" / job.remote.etag


def _entry(repo: str) -> Path:
    """A repository's folder in the hub's cache."""
    return _cache() / f"models--{repo.replace('/', '--')}"


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _enter_cache(job: WantedFile, hub: Hub, offline: bool) -> Path:
    """Let huggingface-hub enter a fetched blob into its cache; returns the file under its revision."""
    from huggingface_hub import errors, hf_hub_download

    remote = job.remote
    try:
        pointer = hf_hub_download(
            remote.repo,
            remote.path,
            revision=remote.commit,
            cache_dir=_cache(),
            endpoint=hub.address,
            local_files_only=offline,
        )
    except (errors.HTTPError, OSError) as error:
        raise explain(error, remote.name, hub) from error
    if job.revision != remote.commit and not offline:
        reference = _entry(remote.repo) / "refs" / job.revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(remote.commit)
    return Path(pointer)


def _link(pointer: Path, place: Path) -> None:
    """Make `place` show a cached file: a relative link, or a copy where the disk knows no links."""
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(os.path.relpath(pointer, place.parent))
    except (OSError, NotImplementedError):
        shutil.copyfile(pointer, beside)
    os.replace(beside, place)


def _present(source: Path) -> int:
    """Bytes of a file that are here already, whole or not."""
    for path in (source, partial_path(source)):
        if path.is_file():
            return path.stat().st_size
    return 0


def _check_space(plan: DownloadPlan) -> None:
    """Raise OutputError if the disk cannot hold what is to come, conversions included."""
    if not plan.jobs:
        return
    converted = [job.remote.size for job in plan.jobs if job.file.pickled]
    copies = sum(converted) if plan.cached else max(converted, default=0)
    needed = plan.fetch_bytes + copies + _SPARE_BYTES
    place = next(path for path in (plan.folder, *plan.folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OutputError(
            f"{plan.model.name} needs {human_size(needed)} in {plan.folder}, {human_size(free)} are free",
            hint="free some space, or choose another disk with --dir DIR or HF_HOME",
        )
