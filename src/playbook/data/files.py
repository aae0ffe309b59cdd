"""Where the files of a public data set are: in a folder, in a system package, or fetched once with a checksum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from playbook.errors import InputError, one_line

DEFAULT_ROOT = "data_cache"


@dataclass(frozen=True)
class RemoteFile:
    """A file that its authors publish at `url`, with the checksum (`md5:…`, `sha256:…`) that it must have."""

    name: str
    url: str
    checksum: str


@dataclass(frozen=True)
class DataFolder:
    """Where the files of one data set are looked for, and where downloads go.

    With a `root` from the user: in it and in its subfolder `name`, and nowhere else, so that a mistyped folder is not
    papered over by another copy. Without: in `data_cache` likewise, then in `system`, a distribution's package.
    """

    name: str
    root: str | None
    download: bool
    system: Path | None = None

    def find(self, *names: str) -> Path | None:
        """The first file that exists under one of `names`, in the order of the places."""
        candidates = (place / name for place in self._places() for name in names)
        return next((path for path in candidates if path.is_file()), None)

    def get(self, file: RemoteFile, *other_names: str) -> Path:
        """The path of `file`, also accepted under `other_names`; fetched if `download` allows it.

        Files that are found are trusted as far as their format can be checked: a package may have compressed them anew,
        so the publisher's checksum holds for downloads only.
        """
        found = self.find(file.name, *other_names)
        if found is not None:
            return found
        if self.download:
            return self._fetch(file)
        if self.root is not None and not Path(self.root).is_dir():
            raise InputError(
                f"data.root={self.root} is not a folder: type one that holds {file.name}, or data.download=true"
            )
        places = ", ".join(map(str, self._places()))
        raise InputError(
            f"{file.name} of {self.name} was not found in {places}: "
            f"type data.download=true to fetch it, or data.root=<the folder that holds it>"
        )

    def _places(self) -> list[Path]:
        root = Path(DEFAULT_ROOT if self.root is None else self.root)
        system = [self.system] if self.root is None and self.system is not None else []
        return [root, root / self.name, *system]

    def _fetch(self, file: RemoteFile) -> Path:
        import pooch  # brings requests with it; only a download needs them

        folder = Path(DEFAULT_ROOT if self.root is None else self.root) / self.name
        fetcher = pooch.create(
            path=folder,
            base_url="",
            registry={file.name: file.checksum},
            urls={file.name: file.url},
            retry_if_failed=2,
        )
        try:
            # Written beside its place under another name and renamed once the checksum is right.
            return Path(fetcher.fetch(file.name))
        except (OSError, ValueError) as error:  # requests' exceptions are OSErrors; a wrong checksum is a ValueError
            reason = one_line(error)
            raise InputError(
                f"{file.url} could not be fetched into {folder}: {reason} "
                f"(try again, or put the file there and type data.root={folder})"
            ) from error
