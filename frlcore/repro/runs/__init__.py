"""Runs: what one is, where its result stands, and who carries it out.

    task locks < files < store < pace checks needs export < worker < job < engines < cluster progress
"""
