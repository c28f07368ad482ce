"""The state of the user's own code."""

import subprocess

_TIMEOUT_SECONDS = 10.0


def find_git_commit() -> str | None:
    """Return the commit that is checked out in the working directory.

    Returns:
        Its full hash, with ``-dirty`` behind it if tracked files have changed. None outside of a repository, without
        git, and in a repository that git cannot describe within 10 seconds.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
