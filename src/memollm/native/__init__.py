"""A compiled kernel for decoded tokens: optional, and worth nothing but time.

``decode.c`` is built by the C compiler of the machine when it is first needed, without headers of
Python or PyTorch, and called by addresses. Without a compiler PyTorch does the same.
"""
