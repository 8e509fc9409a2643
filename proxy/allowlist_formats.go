package proxy

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
)

// AllowListFormats are the formats that WriteAllowList knows.
var AllowListFormats = []string{"table", "csv", "json", "nftables", "iptables", "paloalto", "windows", "markdown"}

// WriteAllowList writes an allow-list. source is the network that the clients are in;
// the zero prefix means any. The rules are made of numbers and addresses only, never of
// texts from outside.
func WriteAllowList(w io.Writer, format string, rows []Row, source netip.Prefix) error {
	rows = slices.Clone(rows)
	if source.IsValid() {
		for i := range rows {
			rows[i].Source = source.String()
		}
	}
	switch format {
	case "table":
		return writeTable(w, rows)
	case "csv":
		return writeCSV(w, rows)
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"rows": rows})
	case "nftables":
		return writeNFTables(w, rows, source)
	case "iptables":
		return writeIPTables(w, rows, source)
	case "paloalto":
		return writePaloAlto(w, rows, source)
	case "windows":
		return writeWindows(w, rows, source)
	case "markdown":
		return writeMarkdown(w, rows)
	}
	return fmt.Errorf("proxy: no format %q, there are %s", format, strings.Join(AllowListFormats, ", "))
}

func (r *Row) source() string {
	if r.Source == "" {
		return "clients"
	}
	return r.Source
}

func writeTable(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "PROTOCOL\tSOURCE\tDESTINATION\tPORTS\tPURPOSE")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.Protocol, r.source(), r.Destination, joinPorts(r.Ports, ", "), r.Purpose)
	}
	return t.Flush()
}

func writeCSV(w io.Writer, rows []Row) error {
	c := csv.NewWriter(w)
	c.Write([]string{"protocol", "source", "destination", "ports", "purpose"})
	for _, r := range rows {
		c.Write([]string{r.Protocol, r.Source, r.Destination.String(), joinPorts(r.Ports, " "), r.Purpose})
	}
	c.Flush()
	return c.Error()
}

func writeMarkdown(w io.Writer, rows []Row) error {
	fmt.Fprintln(w, "| Protocol | Source | Destination | Ports | Purpose |\n| --- | --- | --- | --- | --- |")
	for _, r := range rows {
		if _, err := fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", r.Protocol, r.source(), r.Destination, joinPorts(r.Ports, ", "), r.Purpose); err != nil {
			return err
		}
	}
	return nil
}

// fits reports whether a source and a destination are of one family; a rule of two
// would be refused by the firewall.
func fits(source netip.Prefix, r *Row) bool {
	return !source.IsValid() || source.Addr().Is4() == r.Destination.Is4()
}

func skipped(w io.Writer, comment string, r *Row, source netip.Prefix) {
	fmt.Fprintf(w, "%s left out: %s is not of the family of %s\n", comment, r.Destination, source)
}

// writeNFTables writes a table of its own, which drops all that is not listed.
func writeNFTables(w io.Writer, rows []Row, source netip.Prefix) error {
	fmt.Fprint(w, `# nft -f FILE. Lets clients reach the cloud proxy and DROPS ALL ELSE: for a machine itself
# (output) and for a router (forward). Where other traffic must go out too, take only the
# accept lines into a chain of your own. Remove again: nft delete table inet chanseal_proxy
table inet chanseal_proxy
delete table inet chanseal_proxy
table inet chanseal_proxy {
	chain allowed {
		ct state established,related accept
		oifname "lo" accept
		meta l4proto ipv6-icmp accept
`)
	for i := range rows {
		r := &rows[i]
		if !fits(source, r) {
			skipped(w, "\t\t#", r, source)
			continue
		}
		family, from := "ip", ""
		if r.Destination.Is6() {
			family = "ip6"
		}
		if source.IsValid() {
			from = family + " saddr " + source.String() + " "
		}
		fmt.Fprintf(w, "\t\t%s%s daddr %s %s dport { %s } accept comment \"%s\"\n", from, family, r.Destination, strings.ToLower(r.Protocol),
			joinPorts(r.Ports, ", "), r.Purpose)
	}
	_, err := io.WriteString(w, `	}
	chain output {
		type filter hook output priority 0; policy drop;
		jump allowed
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		jump allowed
	}
}
`)
	return err
}

// writeIPTables writes commands; multiport takes 15 ports, a range counts as two.
func writeIPTables(w io.Writer, rows []Row, source netip.Prefix) error {
	fmt.Fprintln(w, "# Accept rules for the cloud proxy, to be put before the rule that drops. On the\n# machine itself use OUTPUT in place of FORWARD.")
	v4, v6 := false, false
	for i := range rows {
		r := &rows[i]
		if !fits(source, r) {
			skipped(w, "#", r, source)
			continue
		}
		command := "iptables"
		if r.Destination.Is6() {
			command, v6 = "ip6tables", true
		} else {
			v4 = true
		}
		from := ""
		if source.IsValid() {
			from = " -s " + source.String()
		}
		for ports := r.Ports; len(ports) > 0; {
			n, room := 0, 15
			for n < len(ports) && room >= min(ports[n].Len(), 2) {
				room -= min(ports[n].Len(), 2)
				n++
			}
			list := strings.ReplaceAll(joinPorts(ports[:n], ","), "-", ":")
			fmt.Fprintf(w, "%s -A FORWARD -p %s%s -d %s -m multiport --dports %s -m comment --comment \"%s\" -j ACCEPT\n",
				command, strings.ToLower(r.Protocol), from, r.Destination, list, r.Purpose)
			ports = ports[n:]
		}
	}
	if v4 {
		fmt.Fprintln(w, "iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	}
	if v6 {
		fmt.Fprintln(w, "ip6tables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
	}
	return nil
}

// writePaloAlto writes PAN-OS set commands: address and service objects and one rule a
// row. Zones are the firewall's own: trust and untrust are the usual names.
func writePaloAlto(w io.Writer, rows []Row, source netip.Prefix) error {
	from := "any"
	if source.IsValid() {
		from = "chanseal-clients"
		fmt.Fprintf(w, "set address %s ip-netmask %s\n", from, source)
	}
	seen := map[string]bool{}
	once := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !seen[line] {
			seen[line] = true
			io.WriteString(w, line)
		}
	}
	service := func(r *Row, p Ports) string {
		return fmt.Sprintf("chanseal-%s-%s", strings.ToLower(r.Protocol), p)
	}
	address := func(r *Row) string {
		return "chanseal-" + strings.NewReplacer(".", "-", ":", "-").Replace(r.Destination.String())
	}
	for i := range rows {
		r := &rows[i]
		if !fits(source, r) {
			continue
		}
		bits := 32
		if r.Destination.Is6() {
			bits = 128
		}
		once("set address %s ip-netmask %s/%d\n", address(r), r.Destination, bits)
		for _, p := range r.Ports {
			once("set service %s protocol %s port %s\n", service(r, p), strings.ToLower(r.Protocol), p)
		}
	}
	for i := range rows {
		r := &rows[i]
		if !fits(source, r) {
			skipped(w, "#", r, source)
			continue
		}
		var names []string
		for _, p := range r.Ports {
			names = append(names, service(r, p))
		}
		if _, err := fmt.Fprintf(w, "set rulebase security rules chanseal-%02d from trust to untrust source %s destination %s application any service [ %s ] action allow description \"%s\"\n",
			i+1, from, address(r), strings.Join(names, " "), r.Purpose); err != nil {
			return err
		}
	}
	return nil
}

// writeWindows writes PowerShell commands for the Windows firewall of a client.
func writeWindows(w io.Writer, rows []Row, source netip.Prefix) error {
	fmt.Fprintln(w, "# In an elevated PowerShell. Remove again: Remove-NetFirewallRule -Group \"chanseal proxy\"")
	for i := range rows {
		r := &rows[i]
		if !fits(source, r) {
			skipped(w, "#", r, source)
			continue
		}
		from := ""
		if source.IsValid() {
			from = " -LocalAddress " + source.String()
		}
		var ports []string
		for _, p := range r.Ports {
			ports = append(ports, `"`+p.String()+`"`)
		}
		if _, err := fmt.Fprintf(w, "New-NetFirewallRule -Group \"chanseal proxy\" -DisplayName \"chanseal proxy %02d: %s\" -Direction Outbound -Action Allow -Protocol %s%s -RemoteAddress %s -RemotePort %s\n",
			i+1, r.Purpose, r.Protocol, from, r.Destination, strings.Join(ports, ",")); err != nil {
			return err
		}
	}
	return nil
}
