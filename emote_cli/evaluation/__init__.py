"""How good a talking head is: numbers with their recipes, measured on finished videos."""
