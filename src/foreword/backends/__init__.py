"""Where a model is computed: one folder a kind of device, behind the protocols of base.py."""
