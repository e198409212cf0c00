"""The one place of the version number (setup.cfg reads it from here)."""

__version__ = "0.2.0"
