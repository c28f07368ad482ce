"""A finished run over HTTP: TensorFlow Serving's REST protocol, a page to try the model, and limits on clients.

FastAPI and uvicorn are the extra ``web``. Only ``keras-transfer serve`` imports the modules of this package.
"""
