package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/chanseal/chanseal/cipher"
	"github.com/chanseal/chanseal/rtpseal"
)

// mediaNetwork passes on what comes at a port, and at that above, to each of its
// subscribers, as a media network does: without looking into it. It can lose some.
func mediaNetwork(ctx context.Context, f *flag.FlagSet, args []string) error {
	listen, to := f.String("listen", "", ""), f.String("to", "", "addresses, with commas")
	loss, seed := f.Float64("loss", 0, "per cent of RTP"), f.Uint64("seed", 1, "")
	keep := f.String("capture", "", "keep what comes in a file")
	list := f.String("packets", "", "write a hash of each packet of RTP to a file")
	f.Parse(args)
	var hashes *os.File
	if *list != "" {
		var err error
		if hashes, err = os.OpenFile(*list, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return err
		}
		defer hashes.Close()
	}
	var capture *os.File
	if *keep != "" {
		var err error
		if capture, err = os.OpenFile(*keep, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return err
		}
		defer capture.Close()
	}
	var passed, lost atomic.Uint64
	var running sync.WaitGroup
	for plus := range 2 {
		at, err := above(*listen, plus)
		if err != nil {
			return err
		}
		conn, err := net.ListenUDP("udp", at)
		if err != nil {
			return err
		}
		conn.SetReadBuffer(4 << 20)
		context.AfterFunc(ctx, func() { conn.Close() })
		var subscribers []*net.UDPAddr
		for _, s := range strings.FieldsFunc(*to, func(r rune) bool { return r == ',' }) {
			a, err := above(s, plus)
			if err != nil {
				return err
			}
			subscribers = append(subscribers, a)
		}
		dice := rand.New(rand.NewPCG(*seed, uint64(plus)))
		running.Go(func() {
			buf := make([]byte, 1<<16)
			for {
				n, _, err := conn.ReadFromUDP(buf)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					continue // a subscriber is not there yet
				}
				if capture != nil {
					capture.Write(buf[:n])
				}
				if plus == 0 && hashes != nil {
					fmt.Fprintf(hashes, "%x\n", sha256.Sum256(buf[:n]))
				}
				if plus == 0 && dice.Float64()*100 < *loss {
					lost.Add(1)
					continue
				}
				if plus == 0 {
					passed.Add(1)
				}
				for _, s := range subscribers {
					conn.WriteToUDP(buf[:n], s)
				}
			}
		})
	}
	fmt.Fprintln(os.Stderr, "running")
	running.Wait()
	fmt.Printf("%d passed, %d lost\n", passed.Load(), lost.Load())
	return nil
}

func above(address string, plus int) (*net.UDPAddr, error) {
	a, err := net.ResolveUDPAddr("udp", address)
	if err == nil {
		a.Port += plus
	}
	return a, err
}

// epochOf reads the low four bits of the epoch in a sealed packet's key ID.
func epochOf(pkt []byte) (uint64, bool) {
	_, payload, err := rtpseal.ParsePacket(pkt)
	if err != nil {
		return 0, false
	}
	d, sealed, err := rtpseal.ParseDescriptor(payload)
	if err != nil || d&rtpseal.First == 0 {
		return 0, false
	}
	h, _, err := cipher.ParseHeader(sealed)
	return uint64(h.KID) & 15, err == nil
}
