"""One module per subcommand, with a function of its name: parse, call the library, print the result."""
