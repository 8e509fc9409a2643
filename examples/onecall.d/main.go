// Command onecall.d is what examples/onecall needs beside the shell and chanseal itself:
// a source and an end of RTP where ffmpeg is not, a stub of a media network, a member who
// writes down secrets so that they can be searched for, and the search.
//
// It is part of a demonstration. A program of one's own begins at another place: at
// examples/pionsfu, or at package keyserver/client.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// commands are what the script calls.
var commands = []struct {
	name, args string
	run        func(ctx context.Context, f *flag.FlagSet, args []string) error
}{
	{"ports", "N", ports},
	{"certificates", "DIR HOST…", certificates},
	{"send", "-to ADDRESS CLIP", send},
	{"receive", "-listen ADDRESS -codec NAME -frames N", receive},
	{"frames", "CLIP", frames},
	{"media", "-listen ADDRESS -to ADDRESSES", mediaNetwork},
	{"capture", "-o FILE INTERFACE…", capture},
	{"witness", "-server URL -ca FILE -channel NAME -uid UID -card FILE -o FILE", witness},
	{"patterns", "FILE", patterns},
	{"search", "-patterns FILE [-pid PID] [FILE…]", search},
	{"epochs", "RECORDING", epochs},
	{"opened", "[-codec NAME] RECORDING", opened},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "calltool:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	for _, c := range commands {
		if len(args) > 0 && args[0] == c.name {
			return c.run(ctx, flag.NewFlagSet(c.name, flag.ExitOnError), args[1:])
		}
	}
	var all []string
	for _, c := range commands {
		all = append(all, "  "+c.name+" "+c.args)
	}
	return errors.New("which command?\n" + strings.Join(all, "\n"))
}

// ports prints N even ports of 127.0.0.1 that are free, with those above them, for UDP and
// TCP. They are below those that systems give to whoever asks for any.
func ports(_ context.Context, f *flag.FlagSet, args []string) error {
	f.Parse(args)
	var n int
	if _, err := fmt.Sscan(f.Arg(0), &n); err != nil {
		return err
	}
	var held []io.Closer
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for tries := 0; n > 0; tries++ {
		if tries > 10_000 {
			return errors.New("no free ports on 127.0.0.1")
		}
		port := 10_000 + 2*rand.IntN(5_500)
		var pair []io.Closer
		for p := port; p < port+2; p++ {
			at := fmt.Sprintf("127.0.0.1:%d", p)
			u, err := net.ListenPacket("udp", at)
			if err != nil {
				break
			}
			pair = append(pair, u)
			t, err := net.Listen("tcp", at)
			if err != nil {
				break
			}
			pair = append(pair, t)
		}
		held = append(held, pair...) // until the end, so that none comes twice
		if len(pair) == 4 {
			fmt.Println(port)
			n--
		}
	}
	return nil
}
