"""The book: notebooks executed, staged beside the prose and rendered.

    notebook offline light lab reference < inline < pages
"""
