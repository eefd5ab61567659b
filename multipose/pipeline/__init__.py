"""The stages of a project: read files, call the verbs, write products and pages.

- `beginning`, `recordings`, `clock`, `sources`, `foreign`: a project's folder, its recordings, and the frames in them.
- `plan`, `provenance`, `overview`, `running`: what can be made, from what, whether it is up to date, and making it.
- `calibration`, `labels`, `training`, `evaluation`, `prediction`, `reconstruction`, `pictures`, `exports`: the stages.
- `demo`: all of them on the sample project, judged by its truth.

Nothing is imported here, so that a command loads only what its stage needs.
"""
