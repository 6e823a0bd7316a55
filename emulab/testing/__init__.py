"""Labs for tests: the pytest plugin `emulab` (docs/pytest.md).

* `plugin`     what pytest sees: options, marker, fixtures, report. It is loaded in every run of pytest where emulab is
               installed, so it imports nothing of emulab until a lab is asked for
* `manifests`  a marker's arguments as manifests, and its proxy modes
* `watched`    the lab that a test gets: it remembers its last failed request, and tells of itself when a test fails
"""
