"""Concepts: clips of a cache clustered by what a frozen encoder makes of them, and a page to see the clusters on."""
