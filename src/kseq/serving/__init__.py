"""An HTTP service for a trained model.

Needs the extra `serve` (FastAPI and uvicorn).
"""

import importlib.util


def check_installed() -> None:
    """Raises where the libraries that serving needs are missing.

    Raises:
        ImportError: If one is.
    """
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(
                f"Serving a model needs {name}: pip install 'kseq[serve]'"
            )
