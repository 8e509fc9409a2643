package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// Row is a line of the allow-list: what a company's firewall must let out, and what
// the answers come back for.
type Row struct {
	Protocol    string     `json:"protocol"` // TCP or UDP
	Destination netip.Addr `json:"destination"`
	Ports       []Ports    `json:"ports"`
	Purpose     string     `json:"purpose"`
	Source      string     `json:"source,omitempty"` // CIDR; empty: the clients
}

// What a row is for, in the words of the source's table.
const (
	purposeControl = "messages"
	purposeMedia   = "media exchange"
	purposeEdge    = "edge node traffic"
	purposeTLS     = "messages and media over TLS"
)

// AllowList makes the table of what clients send to: one row for each protocol,
// destination and purpose, in the order messages, media, edge nodes, TLS.
func AllowList(nodes []Node, l ListenPorts) []Row {
	edge := append(append([]Ports(nil), l.SOCKS...), l.Edge...)
	var rows []Row
	for _, kind := range []struct {
		service   string
		protocols []string
		ports     []Ports
		purpose   string
	}{
		{"control", []string{"TCP"}, l.Control, purposeControl},
		{"media", []string{"UDP"}, l.Media, purposeMedia},
		{"edge", []string{"TCP", "UDP"}, edge, purposeEdge},
		{"tls", []string{"TCP"}, l.TLS, purposeTLS},
	} {
		if len(kind.ports) == 0 {
			continue
		}
		for _, n := range nodes {
			if !n.offers(kind.service) {
				continue
			}
			for _, p := range kind.protocols {
				rows = append(rows, Row{Protocol: p, Destination: n.Address, Ports: kind.ports, Purpose: kind.purpose})
			}
		}
	}
	return rows
}

// AllowList is the allow-list of the configuration: of the test set or the production
// set. Without Nodes it is of this machine alone, at its Public or its Addresses.
func (c *Config) AllowList(test bool) ([]Row, error) {
	nodes := c.Nodes
	if test {
		nodes = c.TestNodes
	}
	if len(nodes) == 0 && !test {
		for _, list := range [][]netip.Addr{c.Public, c.Addresses} {
			for _, a := range list {
				nodes = append(nodes, Node{Address: a})
			}
			if len(nodes) > 0 {
				break
			}
		}
	}
	if len(nodes) == 0 {
		set := "nodes"
		if test {
			set = "test_nodes"
		}
		return nil, fmt.Errorf("proxy: the configuration names no addresses that clients reach: give %s, or public addresses (--public)", set)
	}
	if err := checkNodes(nodes); err != nil {
		return nil, err
	}
	return AllowList(nodes, c.Listen), nil
}

// allowlist serves GET /v1/allowlist: it is no secret, the firewall's owner needs it
// before anybody has a card.
func (s *Server) allowlist(w http.ResponseWriter, r *http.Request) {
	cfg := s.cfg
	if len(cfg.Nodes) == 0 && len(cfg.Public) == 0 {
		if a := localAddr(r); a.IsValid() {
			cfg.Public = []netip.Addr{a}
		}
	}
	rows, err := cfg.AllowList(r.URL.Query().Get("set") == "test")
	if err != nil {
		writeJSON(w, http.StatusNotFound, &APIError{Code: "no-addresses", Text: strings.TrimPrefix(err.Error(), "proxy: ")})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"rows": rows})
}
