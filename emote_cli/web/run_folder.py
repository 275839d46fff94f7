"""What `--run` opens: the report of prepare or evaluate, and a training run's curves and samples."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from emote_cli.errors import InputError
from emote_cli.web import texts

_KINDS = {
    ".html": "text/html", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp",
    ".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif",
}  # fmt: skip
"""What is served of a run; weights, logs and recordings are not."""

MOST_SAMPLES = 24
"""Samples that are shown, the newest."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A data set, an evaluation or a training run, to be looked at.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder, if it is one.

        Raises:
            InputError: it is not there.
        """
        if not path.is_dir():
            raise InputError(
                f"run {path} is not a folder", hint="name a folder that prepare, evaluate or train made"
            )
        return cls(path.resolve())

    def find(self, name: str) -> tuple[Path, str] | None:
        """The file at an address, and its type; None for what is not shown, or lies elsewhere."""
        try:
            file = (self.path / name).resolve()
            kind = _KINDS.get(file.suffix.lower())
            shown = (
                kind and file.is_relative_to(self.path) and file.is_file() and not _is_hidden(file, self.path)
            )
        except (OSError, ValueError):
            return None
        return (file, str(kind)) if shown else None

    def page(self) -> str:
        """HTML that shows all of it."""
        parts = []
        for report in sorted(self.path.glob("*.html")):
            link = _link(report, self.path)
            parts.append(
                f"<h3>{texts.REPORT}: {escape(report.stem)}</h3>"
                f'<p><a href="{link}" target="_blank" rel="noopener">{escape(report.name)}</a></p>'
                f'<iframe src="{link}" sandbox title="{texts.REPORT} {escape(report.stem)}"></iframe>'
            )
        for curves in sorted(self.path.glob("**/curves.png")):
            parts.append(
                f"<h3>{texts.CURVES}: {escape(_where(curves, self.path))}</h3>"
                f'<img src="{_link(curves, self.path)}" alt="{texts.CURVES_ALT}">'
            )
        samples = [file for file in self.path.glob("**/samples/*") if file.suffix.lower() in _KINDS]
        samples.sort(key=lambda file: file.stat().st_mtime, reverse=True)
        if samples:
            shown = "".join(self._sample(file) for file in samples[:MOST_SAMPLES])
            parts.append(f'<h3>{texts.SAMPLES}</h3><div class="samples">{shown}</div>')
        return "".join(parts) or f"<p>{texts.EMPTY_RUN}</p>"

    def _sample(self, file: Path) -> str:
        link, name = _link(file, self.path), escape(file.stem)
        if _KINDS[file.suffix.lower()].startswith("video"):
            shown = (
                f'<video controls playsinline preload="metadata" src="{link}" aria-label="{name}"></video>'
            )
        else:
            shown = f'<img src="{link}" alt="{name}">'
        return f"<figure>{shown}<figcaption>{name}</figcaption></figure>"


def _is_hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _where(file: Path, root: Path) -> str:
    return root.name if file.parent == root else file.parent.relative_to(root).as_posix()


def _link(file: Path, root: Path) -> str:
    return f"run/{quote(file.relative_to(root).as_posix())}"
