"""Runs: what one is, where its result stands, and who carries it out.

    task locks < store < pace checks needs < worker < job < engines < cluster progress
"""
