"""What DICOM headers say, read with care, and what follows from it.

``inspect`` reads one file's first bytes, ``worker`` does so in a bounded process; both give
``facts``. ``checks`` finds what is wrong in a selection of files, ``label`` says what is in it,
``compare`` holds that against what somebody expects, ``patients`` splits it. All is pure but
``worker``, ``child``, ``process``, ``picture`` and ``picturechild``.
"""
