"""Runs: what one is, where its result stands, and who carries it out.

    task locks < store < pace checks < worker < job < engines < cluster progress
"""
