package proxy

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
)

// Registry is how relays on several machines find each other; etcdregistry is one. What
// it finds is asked for its health and its proof like the relays of the configuration,
// and trusted no further.
type Registry interface {
	// Run announces an address, host:port of a control service, and tells found of
	// all that are there, at first and after each change, until ctx ends. It tells
	// failed what goes wrong and goes on trying.
	Run(ctx context.Context, address string, found func(addresses []string), failed func(error))
}

// announced is the address of this relay for the others.
func (s *Server) announced() (string, error) {
	if s.cfg.Announce != "" {
		if _, _, err := net.SplitHostPort(s.cfg.Announce); err != nil {
			return "", errors.New("proxy: the address to announce is not host:port (--announce)")
		}
		return s.cfg.Announce, nil
	}
	addresses := slices.Concat(s.cfg.Public, s.cfg.Addresses)
	for _, l := range s.listening {
		if (l.Service == "control" || l.Service == "tls") && len(addresses) > 0 {
			return net.JoinHostPort(addresses[0].String(), strconv.Itoa(int(l.Address.Port()))), nil
		}
	}
	return "", errors.New("proxy: other relays cannot be told where this one is, give its address (--announce HOST:PORT)")
}

// register makes this relay known, and others to it.
func (s *Server) register() error {
	if s.cfg.Registry == nil {
		return nil
	}
	address, err := s.announced()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		<-s.done
		cancel()
	})
	s.wg.Go(func() {
		s.cfg.Registry.Run(ctx, address, func(all []string) {
			s.others.set(slices.DeleteFunc(slices.Clone(all), func(a string) bool { return a == address }))
		}, func(err error) {
			if err != nil {
				s.log.Error("proxy: the registry of relays", "error", err)
			}
		})
	})
	return nil
}

// set replaces the relays that a registry found, beside those of the configuration.
func (o *otherRelays) set(found []string) {
	refs := map[string]bool{}
	for _, r := range o.srv.cfg.Relays {
		refs[r.Address] = true
	}
	for _, a := range found {
		refs[a] = true
	}
	o.mu.Lock()
	o.refs = refs
	for a := range o.up {
		if !refs[a] {
			delete(o.up, a)
		}
	}
	o.mu.Unlock()
	o.check()
}
