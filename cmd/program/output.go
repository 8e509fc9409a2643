package program

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// output is a file that comes to be: written under a temporary name beside its own,
// which it gets when it is whole. Until then, and if it never is, nothing is there
// under its name, or what was there before.
//
// stdout, and what is no regular file (a pipe, a device), is written to directly.
type output struct {
	path  string // where links lead to; for messages, too
	force bool
	io.Writer
	stream bool // what was written stays written

	file *os.File    // nil: stdout
	tmp  string      // "" : written to directly
	mode fs.FileMode // that it gets when it is whole; 0: as it was made
}

// target is an output before anything is made.
type target struct {
	path    string
	stdout  bool
	force   bool
	private bool        // mode 0600, also in place of another file
	info    os.FileInfo // of what is there; nil: nothing
}

// newTarget checks what an output is to be, before any work is done. It makes nothing.
func (p *program) newTarget(path string, force bool, in *input) (*target, error) {
	t, err := p.target(path, force, in)
	if err == nil {
		err = t.free()
	}
	return t, err
}

// target is newTarget that leaves to free whether the output may be there already.
func (p *program) target(path string, force bool, in *input) (*target, error) {
	if path == "-" {
		if isTerminal(p.stdout) {
			return nil, &failure{err: errors.New("stdout is a terminal, and the output is not text"), code: exitUsage,
				hints: []string{"name a file: -o FILE, or pipe the output on"}}
		}
		return &target{path: "stdout", stdout: true}, nil
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	t := &target{path: path, force: force}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, nil
	case err != nil:
		return nil, fileError(path, err)
	}
	t.info = info
	switch {
	case info.IsDir():
		return nil, &failure{err: fmt.Errorf("%s: is a directory", path), code: exitUsage, hints: []string{"name a file: -o " + quoteArg(filepath.Join(path, "FILE"))}}
	case in.info != nil && os.SameFile(in.info, info):
		return nil, &failure{err: fmt.Errorf("%s: is the input, too", path), code: exitUsage, hints: []string{"name another file: -o FILE"}}
	}
	return t, nil
}

// free refuses to overwrite a file unasked. It is called once the input is known to be
// what it should be: of two errors that one helps more.
func (t *target) free() error {
	if t.info != nil && t.info.Mode().IsRegular() && !t.force {
		return existsError(t.path)
	}
	return nil
}

func existsError(path string) error {
	return hinted(fmt.Errorf("%s: exists already", path), "name another file: -o FILE, or overwrite it: --force")
}

// create makes the output. It is to be committed, or else discarded.
func (p *program) create(t *target) (*output, error) {
	if t.stdout {
		return &output{path: t.path, Writer: stream{p.stdout}, stream: true}, nil
	}
	o := &output{path: t.path, force: t.force}
	if t.info != nil && !t.info.Mode().IsRegular() {
		f, err := os.OpenFile(t.path, os.O_WRONLY, 0)
		if err != nil {
			return nil, fileError(t.path, err)
		}
		o.file, o.Writer, o.stream = f, stream{f}, true
		return o, nil
	}
	if t.info != nil {
		o.mode = t.info.Mode().Perm()
	}
	var random [6]byte
	rand.Read(random[:])
	o.tmp = filepath.Join(filepath.Dir(t.path), "."+filepath.Base(t.path)+"."+hex.EncodeToString(random[:])+".tmp")
	mode := fs.FileMode(0o666)
	if t.private {
		mode, o.mode = 0o600, 0o600
	}
	f, err := os.OpenFile(o.tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, fileError(t.path, err)
	}
	o.file, o.Writer = f, f
	return o, nil
}

// stream hides from a Writer that it could seek: what stdout leads to may be a file
// that others append to.
type stream struct{ io.Writer }

// commit gives a file that is whole its name.
func (o *output) commit(ctx context.Context) error {
	if o.tmp == "" {
		return o.close()
	}
	err := ctx.Err()
	if err == nil && o.mode != 0 {
		err = o.file.Chmod(o.mode) // a file that nobody else could read stays so
	}
	if closed := o.close(); err == nil {
		err = closed
	}
	switch {
	case err != nil:
	case o.force:
		err = os.Rename(o.tmp, o.path)
	default:
		err = renameNew(o.tmp, o.path)
		if errors.Is(err, fs.ErrExist) {
			err = existsError(o.path) // since newTarget looked
		}
	}
	if err == nil {
		o.tmp = ""
		return nil
	}
	return o.error(err)
}

// discard removes what is unfinished. After commit it does nothing.
func (o *output) discard() {
	o.close()
	if o.tmp != "" {
		os.Remove(o.tmp)
		o.tmp = ""
	}
}

func (o *output) close() error {
	if o.file == nil {
		return nil
	}
	f := o.file
	o.file = nil
	return f.Close()
}

// error says of an error that it came from writing this output.
func (o *output) error(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	default:
		return err
	}
	return &named{o.path, "cannot be written: " + err.Error(), err}
}

// renameNew renames a file, unless something has the new name: fs.ErrExist.
func renameNew(from, to string) error {
	err := renameExclusive(from, to)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// A link never replaces anything; but not all file systems have links.
	if err = os.Link(from, to); err == nil {
		return os.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}
