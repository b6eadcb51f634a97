"""medp2p: medical images from workstation to workstation, sealed, checked, resumable."""

__version__ = "0.1.0"
