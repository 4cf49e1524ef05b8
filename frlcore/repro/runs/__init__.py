"""Runs: what one is, where its result stands, and who carries it out.

    task locks < files < store < pace checks needs < worker < job < engines < cluster progress
"""
