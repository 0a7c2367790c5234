"""Measurements of wsrelay against rivals. See README.md in this folder."""
