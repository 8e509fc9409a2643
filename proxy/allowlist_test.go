package proxy

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// documentConfig is the proxy of the source document: two nodes for messages and
// media, four edge nodes.
func documentConfig(t *testing.T) *Config {
	data, err := os.ReadFile(filepath.Join("testdata", "document.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{Listen: DefaultPorts()}
	if err := c.ReadConfig(data); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAllowListDocument: the twelve rows of the source document, in every format.
func TestAllowListDocument(t *testing.T) {
	rows, err := documentConfig(t).AllowList(true)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 12 {
		t.Errorf("%d rows, the document has 12", len(rows))
	}
	for _, format := range AllowListFormats {
		var b bytes.Buffer
		if err := WriteAllowList(&b, format, rows, netip.MustParsePrefix("10.2.0.0/16")); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "document-"+format+".txt")
		if *update {
			os.WriteFile(golden, b.Bytes(), 0o644)
		}
		want, err := os.ReadFile(golden)
		if err != nil || !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s: %v\n%s", format, err, b.Bytes())
		}
	}
}

// TestAllowListNFT: nft accepts what is written.
func TestAllowListNFT(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil || os.Getuid() != 0 {
		t.Skip("nft is not here, or not for us")
	}
	for _, golden := range []string{"document-nftables.txt"} {
		if out, err := exec.Command(nft, "-c", "-f", filepath.Join("testdata", golden)).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}
