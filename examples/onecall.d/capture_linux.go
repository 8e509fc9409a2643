package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// capture keeps every frame of these interfaces in a file, one behind the other: enough
// for a search.
func capture(ctx context.Context, f *flag.FlagSet, args []string) error {
	name := f.String("o", "", "")
	f.Parse(args)
	out, err := os.OpenFile(*name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	var mu sync.Mutex
	var frames, lost atomic.Uint64
	var running sync.WaitGroup
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	for _, ifname := range f.Args() {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all&0xffff)
		if err != nil {
			return fmt.Errorf("capturing wants CAP_NET_RAW: %w", err)
		}
		defer unix.Close(fd)
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: ifi.Index}); err != nil {
			return err
		}
		running.Go(func() {
			buf := make([]byte, 1<<17)
			for {
				flags := 0
				if ctx.Err() != nil {
					flags = unix.MSG_DONTWAIT // what has come is kept, too
				}
				n, _, err := unix.Recvfrom(fd, buf, flags)
				if err != nil && flags != 0 {
					break
				} else if err != nil {
					continue // nothing came for a while
				}
				frames.Add(1)
				mu.Lock()
				out.Write(buf[:n])
				mu.Unlock()
			}
			if s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
				lost.Add(uint64(s.Drops))
			}
		})
	}
	fmt.Fprintln(os.Stderr, "running")
	running.Wait()
	fmt.Printf("%d frames, %d lost\n", frames.Load(), lost.Load())
	return nil
}
