"""Diagnostics: what trained weights, hidden states and optimizer states look like, run by run."""

from logclock.diagnostics.diagnose import diagnose

__all__ = ["diagnose"]
