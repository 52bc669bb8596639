"""Many materials under one budget of labels and hours, and fast models of teachers: campaigns that are made and run here."""
