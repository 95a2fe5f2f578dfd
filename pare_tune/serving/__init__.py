"""A trained model behind HTTP: what a request may say and what it is answered, and Ray Serve around it."""
