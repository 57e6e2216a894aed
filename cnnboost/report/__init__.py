"""Figures, tables and pages that show what was measured."""
