package program

import (
	"bufio"
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/chanseal/chanseal/keyring"
	"github.com/chanseal/chanseal/keyring/etcdstore"
)

const ringVariable = "CHANSEAL_RING"

// defaultRingName is the default ring's directory for the help text.
func defaultRingName() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "none: give --ring"
	}
	return filepath.Join(dir, "chanseal")
}

// ring returns where the ring is: a directory, or the URL of a cluster.
func (p *program) ring() (string, error) {
	if p.ringDir != "" {
		return p.ringDir, nil
	}
	if p.home != "" {
		return p.home, nil
	}
	if dir := os.Getenv(ringVariable); dir != "" {
		return dir, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", hinted(fmt.Errorf("there is no place for a ring: %w", err), "say where it is: --ring DIR")
	}
	return filepath.Join(dir, "chanseal"), nil
}

// openRing opens the ring that there is, and asks for its passphrase if it has one.
// channel is for the hint when there is no ring yet.
func (p *program) openRing(ctx context.Context, channel string) (*keyring.Ring, error) {
	if fips140.Enforced() {
		return nil, hinted(errors.New("a ring is kept by algorithms that GODEBUG=fips140=only forbids"), "run without that setting: GODEBUG=fips140=on")
	}
	dir, err := p.ring()
	if err != nil {
		return nil, err
	}
	keks, missing := p.namedKEKs()
	if missing != nil && !errors.Is(missing, fs.ErrNotExist) {
		return nil, missing
	}
	r, err := p.ringAt(ctx, dir, keks)
	if missing != nil && !errors.Is(err, keyring.ErrNoRing) { // no other key may stand in for the one that was named
		if r != nil {
			r.Close()
		} else if !errors.Is(err, keyring.ErrLocked) { // the store is what fails first
			return nil, p.ringError(dir, channel, err)
		}
		return nil, missing
	}
	var locked *keyring.LockedError
	if len(keks) == 0 && errors.As(err, &locked) && !locked.Tried && slices.Contains(locked.Kinds, "argon2id") {
		if !p.asks() {
			return nil, hinted(fmt.Errorf("the ring in %s needs a passphrase", dir), "give it in a file: --passphrase-file FILE")
		}
		phrase, askErr := p.ask("passphrase of the ring in " + dir + ": ")
		if askErr != nil {
			return nil, askErr
		}
		if keks, err = newPassphrase(phrase); err != nil {
			return nil, err
		}
		r, err = p.ringAt(ctx, dir, keks)
	}
	return r, p.ringError(dir, channel, err)
}

// ringError adds to an error of a ring what to do about it.
func (p *program) ringError(dir, channel string, err error) error {
	if channel == "" {
		channel = "NAME"
	} else {
		channel = quoteArg(channel)
	}
	switch {
	case errors.Is(err, keyring.ErrNoRing):
		return hinted(&reworded{fmt.Sprintf("there is no ring in %s yet", dir), err},
			"make one, with its first channel: chanseal channel create "+channel,
			"or say where it is: --ring DIR or --ring etcd://HOST,HOST/PREFIX, or "+ringVariable+" in the environment")
	case errors.Is(err, keyring.ErrLocked) && inEtcd(dir) && p.passphraseFile == "" && p.keyFilePath() == "":
		path, _ := etcdKeyFile()
		return hinted(fmt.Errorf("the ring in %s: %w", dir, err), "bring the key file that was made with the ring to "+path+", or say where it is: --key-file FILE")
	case errors.Is(err, keyring.ErrUnreachable):
		return hinted(err, "do the cluster's members run, and is the URL right?")
	case errors.Is(err, etcdstore.ErrRefused):
		return hinted(err, "the user is user=NAME in the URL, the password in password-file=FILE or "+passwordVariable+"; a role has to grant it all keys below the prefix")
	case errors.Is(err, keyring.ErrLocked) && p.passphraseFile != "":
		return hinted(fmt.Errorf("the ring in %s: %w", dir, err), "is it the right passphrase? only the file's first line counts")
	case errors.Is(err, keyring.ErrDamaged):
		return hinted(err, "nothing was changed; bring back the ring from a backup")
	case errors.Is(err, keyring.ErrBusy):
		return hinted(err, "another program holds it: try again when that is done")
	case errors.Is(err, keyring.ErrVersion):
		return hinted(err, "use a newer chanseal")
	}
	return err
}

// openChannel opens a channel of a ring.
func (p *program) openChannel(ctx context.Context, r *keyring.Ring, name string) (*keyring.Channel, error) {
	ch, err := r.Channel(ctx, name)
	if errors.Is(err, keyring.ErrNoChannel) {
		return nil, hinted(&reworded{fmt.Sprintf("there is no channel %q in the ring", name), err},
			"make it: chanseal channel create "+quoteArg(name),
			"or see which there are: chanseal channel list")
	}
	return ch, err
}

// maxPassphrase bounds a passphrase in bytes.
const maxPassphrase = 4096

// passphraseKEK reads the passphrase from --passphrase-file, once: it may be stdin.
func (p *program) passphraseKEK() ([]keyring.KEK, error) {
	if p.phrase == nil {
		k, err := p.passphraseFrom(p.passphraseFile)
		if err != nil {
			return nil, err
		}
		p.phrase = k
	}
	return p.phrase, nil
}

// passphraseFrom reads a passphrase from the first line of a file.
func (p *program) passphraseFrom(file string) ([]keyring.KEK, error) {
	var in io.Reader = p.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read the passphrase: %w", err)
		}
		defer f.Close()
		in = f
	}
	buf := make([]byte, maxPassphrase+2)
	defer clear(buf)
	n, err := readLine(in, buf)
	if err != nil {
		return nil, fmt.Errorf("read the passphrase from %s: %w", file, err)
	}
	if n == len(buf) {
		return nil, fmt.Errorf("the passphrase in %s is longer than %d bytes", file, maxPassphrase)
	}
	return newPassphrase(buf[:n])
}

// readLine reads into buf up to the end of the first line, which it cuts off. It reads
// not a byte more: behind the passphrase the input may go on.
func readLine(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) {
		got, err := r.Read(buf[n : n+1])
		if got == 1 {
			if buf[n] == '\n' {
				break
			}
			n++
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
	}
	if n > 0 && n < len(buf) && buf[n-1] == '\r' {
		n--
	}
	return n, nil
}

func newPassphrase(phrase []byte) ([]keyring.KEK, error) {
	defer clear(phrase)
	k, err := keyring.Passphrase(phrase)
	if err != nil {
		return nil, err
	}
	return []keyring.KEK{k}, nil
}

// asks reports whether there is somebody to ask.
func (p *program) asks() bool { return isTerminal(p.stdin) }

// ask asks for a secret, which does not show.
func (p *program) ask(prompt string) ([]byte, error) {
	fmt.Fprint(p.stderr, prompt)
	phrase, err := term.ReadPassword(int(p.stdin.(*os.File).Fd()))
	fmt.Fprintln(p.stderr)
	if err != nil {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	return phrase, nil
}

// confirm asks for a word to be typed; without a terminal nobody is asked.
func (p *program) confirm(question, word string) error {
	if !p.asks() || !isTerminal(p.stderr) {
		return nil
	}
	fmt.Fprintf(p.stderr, "%s\ntype %s to go on: ", printable(question), printable(word))
	line, err := bufio.NewReader(io.LimitReader(p.stdin, maxPassphrase)).ReadString('\n')
	if err != nil || line != word+"\n" {
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// completeChannel completes a channel's name, if that is possible without asking.
func (p *program) completeChannel(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const rest = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 && c.Flags().Lookup("channel") == nil {
		return nil, rest
	}
	dir, err := p.ring()
	if err != nil {
		return nil, rest
	}
	keks, err := p.namedKEKs()
	if err != nil {
		return nil, rest
	}
	r, err := p.ringAt(c.Context(), dir, keks)
	if err != nil {
		return nil, rest
	}
	defer r.Close()
	all, err := r.Channels(c.Context())
	if err != nil {
		return nil, rest
	}
	var names []cobra.Completion
	for _, info := range all {
		names = append(names, info.Name)
	}
	return names, rest
}
