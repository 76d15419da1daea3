"""Serve: one run on a page in the browser of this machine; the only package that imports Starlette and uvicorn."""
