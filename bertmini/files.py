"""Files: read with an explanation where they are not what they should be, and written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from bertmini.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def read_text(path: Path) -> str:
    """What a UTF-8 file holds; an InputError where it is not there or is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected it in the directory of a model") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; was it written to the end?") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; an InputError where it holds none."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); was it written to the end?"
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds {str(value)[:60]}; expected a JSON object, in braces")
    return value


def write(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it, so that its name never stands for half a file.

    Args:
        path: where; its directory is made if it does not exist.
        data: the content.

    Raises:
        InputError: the disk is full, say; a file that stood there is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); make room, or name another place") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as JSON that people read, whole or not at all."""
    write(path, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def new_directory(final: str | Path) -> Iterator[Path]:
    """A temporary directory that takes its name when all is written, and goes when something fails."""
    final = Path(final).resolve()
    refuse_mount(final)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    made = [parent for parent in temporary.parents if not parent.exists()]  # the innermost first
    temporary.mkdir(parents=True)
    try:
        yield temporary
        was_there = final.exists()
        if was_there:  # an empty one, perhaps where the user stands; what was written last comes last
            for path in sorted(temporary.iterdir(), key=lambda path: path.stat().st_mtime_ns):
                os.replace(path, final / path.name)
        else:
            os.replace(temporary, final)
        sync_directory(final if was_there else final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # one that holds something stays
            for parent in made:
                parent.rmdir()


def refuse_mount(final: Path) -> None:
    """Refuse a place that a rename from beside it cannot reach."""
    if os.path.ismount(final):
        raise InputError(f"{final} is where another disk begins; name a new directory in it")


def sync_directory(path: Path) -> None:
    """Make sure that what was created or renamed in a directory outlives a power cut."""
    if os.name == "posix":  # elsewhere a directory cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBADF):  # some network file systems sync no directory
                raise
        finally:
            os.close(descriptor)


def lock(file: IO[Any], taken: str) -> None:
    """Hold an open file until it is closed, where the system and the file system have such locks.

    Raises:
        InputError: another process holds it; `taken` is the message.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(taken) from None
    except OSError:  # Lustre and NFS can be without
        pass
