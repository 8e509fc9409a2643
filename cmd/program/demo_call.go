package program

import (
	"context"
	"strings"

	"github.com/chanseal/chanseal/cmd/program/onecall"
)

// callCommand runs a command of the call.
func (p *program) callCommand(ctx context.Context, c onecall.Command) int {
	one := &program{stdin: strings.NewReader(""), stdout: c.Stdout, stderr: c.Stderr, custom: p.custom, home: c.Ring, wall: c.Wall}
	return one.run(ctx, c.Args)
}
