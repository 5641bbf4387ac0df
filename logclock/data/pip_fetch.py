"""How is a package file downloaded the way this machine's pip would, without running a line of the package?

Run as a script (`python -P pip_fetch.py DESTINATION NAME==VERSION/FILE ...`), never imported by logclock: it works
inside pip, so it runs in its own process. `pip download` itself is no way to get a source archive: to learn the
metadata it runs the package's setup.py. This script stops one step earlier. It reads pip's configuration (index,
mirrors, find-links, certificates, proxies, credentials) exactly as `pip download` does, asks pip's finder where the
named file lies, and saves the bytes. Nothing is unpacked, built, imported or installed here.
"""

import sys
from pathlib import Path
from typing import Any

from pip._internal.commands.download import DownloadCommand


class FetchCommand(DownloadCommand):
    """`pip download` without its second half: find the file and save it; leave its contents alone."""

    def run(self, options: Any, args: list[str]) -> int:
        """Save every `NAME==VERSION/FILE` of `args` in the directory named by `--dest`."""
        session = self.get_default_session(options)
        finder = self._build_package_finder(options=options, session=session)
        for wanted in args:
            requirement, _, file_name = wanted.partition("/")
            name, _, version = requirement.partition("==")
            links = [
                candidate.link
                for candidate in finder.find_all_candidates(name)
                if str(candidate.version) == version and candidate.link.filename == file_name
            ]
            if not links:
                sys.stderr.write(f"pip finds no file {file_name} of {requirement}\n")
                return 1
            save(session, links[0].url_without_fragment, Path(options.download_dir) / file_name)
        return 0


def save(session: Any, url: str, path: Path) -> None:
    """Write the bytes behind `url` to `path`."""
    # "identity": an archive must arrive as stored, not decompressed on the way.
    response = session.get(url, headers={"Accept-Encoding": "identity"}, stream=True)
    response.raise_for_status()
    with path.open("wb") as file:
        for block in response.iter_content(1 << 18):
            file.write(block)


if __name__ == "__main__":
    destination, *files = sys.argv[1:]
    # A user's "only wheels" or "only sources" setting must not hide the pinned file; its kind is fixed by the pin.
    formats = [
        option
        for wanted in files
        for option in ("--only-binary" if wanted.endswith(".whl") else "--no-binary", wanted.partition("==")[0])
    ]
    command = FetchCommand("download", "Fetch pinned files without building them.")
    sys.exit(command.main(["--quiet", "--no-deps", *formats, "--dest", destination, *files]))
