"""Request/response work: `predict` behind `POST /predict`."""
