"""Renderers of a report: text for people, JSON, SARIF, GitHub annotations, JUnit, Markdown; each is a pure function."""
