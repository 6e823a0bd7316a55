"""Pages that do what they say: every command of a Markdown page is run, and what it prints has the form that is shown.

* `blocks` reads a page: its files and its command lines, with what is shown of what comes of each.
* `forms` compares what is shown with what was printed: addresses, times, hashes and ages by their form.
* `walk` runs a page's steps in a folder and with labs of its own.

`scripts/tour` walks pages by hand, and the tests do in tests/e2e/test_docs.py. It needs nothing but Python.
"""
