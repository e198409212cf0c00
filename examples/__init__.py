"""Commands that train, measure and draw: `python -m examples.NAME`.

This file imports TensorFlow for all of them and suppresses the messages about oneDNN, CUDA and logging on stderr: they
look like errors but are not. They come from C++ before TensorFlow reads TF_CPP_MIN_LOG_LEVEL. If the import fails, they
are shown.
"""

import os
import sys
import tempfile

#: Keras' `verbose`: a progress bar on a terminal, else one line per epoch, since the bar moves the cursor.
PROGRESS = 1 if sys.stdout.isatty() else 2


def _import_quietly() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


_import_quietly()
