"""An HTTP service for a trained model.

Needs the extra `serve` (FastAPI and uvicorn).
"""

import importlib.util


def check_installed() -> None:
    """Checks that FastAPI and uvicorn are installed.

    Raises:
        ImportError: If one of them is missing.
    """
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(
                f"Serving a model needs {name}: pip install 'kseq[serve]'"
            )
