"""Measuring effectiveness and what it costs."""
