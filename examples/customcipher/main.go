// Command customcipher is chanseal with two ciphers more: all of its commands take
// them in --suite, and open what was sealed with them.
//
//	go run ./examples/customcipher channel create stage
//	go run ./examples/customcipher seal --channel stage --suite xchacha20-poly1305 talk.webm
//	go run ./examples/customcipher open --channel stage -o opened.webm talk.sealed.mkv
package main

import (
	"os"

	"github.com/chanseal/chanseal/cmd/program"
)

func main() {
	os.Exit(program.Main(xchacha(), secretBox()))
}
