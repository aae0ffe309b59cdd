"""What a study says to a person: charts, the page, the terminal; made from tables."""
