"""Floor 4: what both adapters need of the operating system and of the TLS library."""
