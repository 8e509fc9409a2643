package engine

import "os"

// long selects the full sweeps: every length to 2 MiB that is near anything,
// and a million random cases. They take minutes.
var long = os.Getenv("CHANSEAL_LONG") != ""
