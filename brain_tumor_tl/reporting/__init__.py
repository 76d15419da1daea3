"""Reporting: finished runs in, tables, figures and pages out."""
