// Command chanseal seals and opens media, channel by channel. See package program.
package main

import (
	"os"

	"github.com/chanseal/chanseal/cmd/program"
)

func main() { os.Exit(program.Main()) }
