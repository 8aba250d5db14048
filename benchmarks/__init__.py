"""Measurements: each prints a table and writes JSON to `results`. Run in a checkout: python -m benchmarks.ROOM.NAME"""
