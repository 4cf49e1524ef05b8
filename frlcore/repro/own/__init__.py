"""Your own images and models: a folder to a fair robust model and its report, and the audit of any model.

    images report duration model < fit < audit < commands
"""
