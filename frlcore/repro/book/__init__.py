"""The book: notebooks executed, staged beside the prose and rendered.

    notebook offline lab < pages
"""
