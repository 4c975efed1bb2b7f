"""Running networks: devices, precision, transfer, OpenVINO."""
