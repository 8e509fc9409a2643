package program

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chanseal/chanseal/keyring"
)

// hexValue is a flag that says how a key string of hexadecimal digits is read.
type hexValue struct{ keyring.HexReading }

var _ pflag.Value = (*hexValue)(nil)

func (v *hexValue) String() string {
	return map[keyring.HexReading]string{keyring.HexAsText: "text", keyring.HexAsBytes: "bytes"}[v.HexReading]
}

func (*hexValue) Type() string { return "READING" }

func (v *hexValue) Set(s string) error {
	switch s {
	case "text":
		v.HexReading = keyring.HexAsText
	case "bytes":
		v.HexReading = keyring.HexAsBytes
	default:
		return errors.New("give text or bytes")
	}
	return nil
}

func (p *program) channelImportVendor() *cobra.Command {
	var (
		key        keyring.VendorKey
		hex        hexValue
		file       string
		passphrase bool
		asJSON     bool
	)
	c := &cobra.Command{
		Use:   "import-vendor NAME",
		Short: "make a channel of a media vendor's key string and salt",
		Long: `Make a channel, or its next epoch, of what a media vendor's SDK is configured with: an
encryption mode, a key string and, for aes-128-gcm2 and aes-256-gcm2, a salt. Whoever
imports the same under the same name has the same channel: compare the fingerprints.

The key string is the first line of the file, so that it never stands in a command
line. If it is hexadecimal digits, as openssl rand -hex 32 makes them, say how they
are read: the native SDKs take the digits themselves for the key (text), the Web SDK
is given the bytes they stand for (bytes). These are different keys.

The vendor's own frames do not open with it: their format is not published.`,
		Example: `  chanseal channel import-vendor --mode aes-128-gcm2 --secret-file key.txt --hex text --salt X5w9T+50kzxVOnkJKiY/lUk82/bES2kATOt3vBuGEDw= stage
  vault kv get -field=key secret/stage | chanseal channel import-vendor --mode 5 --secret-file - stage`,
		Args: exactArgs("NAME"),
	}
	c.Flags().StringVar(&key.Mode, "mode", "", "the vendor's `MODE`, by name or number")
	c.Flags().StringVar(&file, "secret-file", "", "the key string is the first line of `FILE`, - for stdin")
	c.Flags().Var(&hex, "hex", "`READING` of a hexadecimal key string: text or bytes")
	c.Flags().StringVar(&key.Salt, "salt", "", "the `SALT`, 32 bytes in base64")
	c.Flags().BoolVar(&passphrase, "passphrase", false, "protect a new ring by a passphrase, which is asked for")
	c.Flags().BoolVar(&asJSON, "json", false, "print the channel as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx, name := c.Context(), args[0]
		switch {
		case key.Mode == "":
			return usagef(c, "say which mode: --mode aes-128-gcm2")
		case file == "" && !p.asks():
			return usagef(c, "say where the key string is: --secret-file FILE")
		}
		line, err := p.vendorSecret(file)
		if err != nil {
			return err
		}
		defer clear(line)
		key.Key, key.Hex = line, hex.HexReading
		ring, err := p.openOrCreateRing(ctx, name, passphrase)
		if err != nil {
			return err
		}
		defer ring.Close()
		_, info, err := ring.ImportVendor(ctx, name, key, keyring.Policy{})
		switch {
		case errors.Is(err, keyring.ErrHexReading):
			return hinted(err, "the key is the digits, as in the native SDKs: --hex text", "it is the bytes they stand for, as with hex2ascii in the Web SDK: --hex bytes")
		case errors.Is(err, keyring.ErrStaged):
			return hinted(err, "make it the active one first: chanseal channel rotate "+quoteArg(name))
		case err != nil:
			return err
		}
		return p.changed(info, asJSON, "channel %q is at epoch %d, %s, fingerprint %s: the other end must show the same", name, info.Epoch, info.Suite, info.Fingerprint)
	}
	return c
}

// vendorSecret reads the first line of a file, or asks. The caller wipes it.
func (p *program) vendorSecret(file string) ([]byte, error) {
	const most = 1024
	if file == "" {
		return p.ask("the vendor's key string: ")
	}
	in := p.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the key string: %w", err)
		}
		defer f.Close()
		in = f
	}
	buf := make([]byte, most+2)
	defer clear(buf)
	n, err := readLine(in, buf)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the key string: %w", err)
	case n == 0:
		return nil, errors.New("the first line of the key string's file is empty")
	case n > most:
		return nil, fmt.Errorf("the key string is longer than %d bytes", most)
	}
	return bytes.Clone(buf[:n]), nil
}
