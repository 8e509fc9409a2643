package keyring

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// maxKeyFile bounds a key file in bytes; age's hybrid identities are short.
const maxKeyFile = 64 << 10

// keyFile wraps the root key as an age file (age-encryption.org/v1) whose
// content is the ring ID ‖ the root key.
type keyFile struct {
	recipient  age.Recipient
	identities []age.Identity
}

// KeyFile returns a KEK from a file that holds age identities, one a line, as
// written by [CreateKeyFile] or by age-keygen; the first of them is what a new
// ring is wrapped for. An identity may be a plugin's (AGE-PLUGIN-…): the program
// age-plugin-NAME then has the key, in hardware for example, and unwraps. On Unix, a
// file that others may read is refused.
func KeyFile(path string) (KEK, error) { return KeyFileUI(path, nil) }

// KeyFileUI is KeyFile with a way for plugins to ask whoever uses them.
func KeyFileUI(path string, ui *PluginUI) (KEK, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("keyring: open the key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keyring: open the key file: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() {
		return nil, fmt.Errorf("keyring: the key file %s is not a regular file", path)
	} else if runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("keyring: the key file %s has mode %v: others may read it: run chmod 600 on it", path, mode.Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("keyring: read the key file %s: %w", path, err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("keyring: the key file %s has more than %d bytes: %w", path, maxKeyFile, ErrTooLarge)
	}
	k, err := parseKeyFile(text, ui)
	if err != nil {
		return nil, fmt.Errorf("keyring: the key file %s holds no age identity that can be used: %w", path, ErrDamaged)
	}
	return k, nil
}

// parseKeyFile's errors may quote a part of the file: they are not passed on.
func parseKeyFile(text []byte, ui *PluginUI) (*keyFile, error) {
	k := &keyFile{}
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		var id age.Identity
		var to age.Recipient
		if bytes.HasPrefix(line, []byte("AGE-PLUGIN-")) {
			p, err := plugin.NewIdentity(string(line), pluginUI(ui))
			if err != nil {
				return nil, err
			}
			id, to = p, p.Recipient()
		} else {
			all, err := age.ParseIdentities(bytes.NewReader(line))
			if err != nil {
				return nil, err
			}
			switch n := all[0].(type) {
			case *age.HybridIdentity:
				id, to = n, n.Recipient()
			case *age.X25519Identity:
				id, to = n, n.Recipient()
			default:
				return nil, errors.New("not a native identity")
			}
		}
		if k.identities = append(k.identities, id); k.recipient == nil {
			k.recipient = to
		}
	}
	if k.recipient == nil {
		return nil, errors.New("no identity")
	}
	return k, nil
}

// CreateKeyFile writes a new age identity to path, mode 0600, and returns the KEK.
// It overwrites nothing: an existing file is an error (fs.ErrExist). When it
// returns, the file is on stable storage; the entry in its directory may not be.
//
// The identity is of age's hybrid kind (ML-KEM-768 with X25519), so that a
// ring copied today stays shut to a quantum computer.
func CreateKeyFile(path string) (KEK, error) {
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, fmt.Errorf("keyring: make a key file: %w", err)
	}
	var text strings.Builder
	text.WriteString("# The key of a chanseal ring. Whoever has it and the ring opens every channel.\n")
	text.WriteString(id.String() + "\n")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keyring: make a key file: %w", err)
	}
	_, err = f.WriteString(text.String())
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keyring: write the key file: %w", err), os.Remove(path))
	}
	return &keyFile{recipient: id.Recipient(), identities: []age.Identity{id}}, nil
}

func (*keyFile) Kind() string { return "age" }

// Format prints nothing of it.
func (keyFile) Format(s fmt.State, _ rune) { io.WriteString(s, redacted) }

func (k *keyFile) Wrap(root, ringID []byte) ([]byte, error) {
	return ageWrap(k.recipient, root, ringID)
}

func (k *keyFile) Unwrap(wrapped, ringID []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(wrapped), k.identities...)
	if missing := (*plugin.NotFoundError)(nil); errors.As(err, &missing) {
		return nil, fmt.Errorf("keyring: age-plugin-%s is not installed", missing.Name)
	}
	if err != nil {
		return nil, ErrLocked
	}
	plain, err := io.ReadAll(io.LimitReader(r, int64(ringIDSize+secretSize+1)))
	defer clear(plain)
	if err != nil || len(plain) != ringIDSize+secretSize || subtle.ConstantTimeCompare(plain[:ringIDSize], ringID) != 1 {
		return nil, ErrLocked
	}
	return append([]byte(nil), plain[ringIDSize:]...), nil
}
