package program

import (
	"context"
	"fmt"
	"io"
	"os"
)

// input is a file to read, or stdin.
type input struct {
	name  string // for messages
	stdin bool
	io.Reader
	file *os.File    // nil: the reader is not a file
	info os.FileInfo // nil: nothing is known of it
}

// stdinName stands for stdin in messages.
const stdinName = "stdin"

// openInput opens a file, or stdin for "-". Reading from it ends when ctx does.
func (p *program) openInput(ctx context.Context, path string) (*input, error) {
	in := &input{name: path}
	if path == "-" {
		in.name, in.stdin, in.Reader = stdinName, true, p.stdin
		in.file, _ = p.stdin.(*os.File)
		if isTerminal(p.stdin) {
			return nil, &failure{err: fmt.Errorf("stdin is a terminal"), code: exitUsage, hints: []string{"give a file, or pipe one in"}}
		}
	} else {
		f, err := openInterruptible(ctx, path)
		if err != nil {
			return nil, fileError(path, err)
		}
		in.file, in.Reader = f, f
	}
	if in.file == nil {
		in.Reader = interruptible(ctx, p.stdin)
		return in, nil
	}
	info, err := in.file.Stat()
	if err != nil {
		in.Close()
		return nil, fileError(in.name, err)
	}
	in.info = info
	switch {
	case info.IsDir():
		in.Close()
		return nil, &failure{err: fmt.Errorf("%s: is a directory", in.name), code: exitUsage}
	case !info.Mode().IsRegular():
		in.Reader = interruptible(ctx, in.file)
	}
	return in, nil
}

// size is the length of a regular file, -1 if it is not known.
func (in *input) size() int64 {
	if in.info == nil || !in.info.Mode().IsRegular() {
		return -1
	}
	return in.info.Size()
}

func (in *input) Close() error {
	if in.stdin || in.file == nil {
		return nil
	}
	return in.file.Close()
}

// openInterruptible opens a file. A named pipe that nobody writes to keeps that waiting
// until ctx is done.
func openInterruptible(ctx context.Context, path string) (*os.File, error) {
	type result struct {
		file *os.File
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.Open(path)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		return r.file, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// interruptible makes a Read end when ctx does, where it could wait for ever: on a
// pipe, a read that has begun cannot be called off. Its goroutine stays behind in it.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	go func() {
		buf := make([]byte, 256<<10)
		for {
			n, err := r.Read(buf)
			if _, closed := in.Write(buf[:n]); closed != nil {
				return
			}
			if err != nil {
				in.CloseWithError(err)
				return
			}
		}
	}()
	return out
}
