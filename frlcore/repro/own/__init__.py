"""Your own images: a folder to a fair robust model and its report.

    images report duration < fit
"""
