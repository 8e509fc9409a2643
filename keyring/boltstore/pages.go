package boltstore

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/chanseal/chanseal/keyring"
)

// bbolt trusts its file: an altered page makes it panic, run in circles, or
// hand out pages that are in use. So the file is checked first, page by page,
// with the lock held: both meta pages are whole, every page is reached exactly
// once, or is free, or belongs to the free list, and all keys stand in order.
// Of a file of more than [lazyFrom] pages only those are looked at that lead to
// what is read (see tree), until it is first written or something is not found.
//
// The layout is bbolt's, version 2, in the byte order of the machine:
//
//	page    id u64, flags u16, count u16, overflow u32 (further pages of this one), content
//	meta    magic u32, version u32, page size u32, flags u32, root bucket (page u64, sequence u64),
//	        free list u64, high water mark u64, transaction u64, FNV-1a-64 of all before
//	branch  count × (position u32, key size u32, page u64), keys
//	leaf    count × (flags u32, position u32, key size u32, value size u32), keys and values
//
// Positions count from their own element. A value with flag 1 is a bucket: its
// root page, its sequence, and, if the root page is 0, its only page.
const (
	pageHead   = 16
	elementLen = 16
	bucketHead = 16
	metaLen    = 64

	flagBranch, flagLeaf, flagMeta, flagFree = 0x01, 0x02, 0x04, 0x10

	leafBucket = 0x01
	maxDepth   = 32
)

var native = binary.NativeEndian

// checker looks at every page of a file.
type checker struct {
	*tree
	seen []bool // by page
	bufs [maxDepth + 2][]byte
}

// wrong says what is wrong with the pages.
func wrong(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, keyring.ErrDamaged)...)
}

// check returns the pages that hold nothing. The file has that many bytes.
func check(file io.ReaderAt, size int64) (free []uint64, err error) {
	t, err := readTree(file, size)
	if err != nil {
		return nil, err
	}
	return t.check()
}

// check looks at all pages: each is reached exactly once, or is free.
func (t *tree) check() (free []uint64, err error) {
	c := &checker{tree: t, seen: make([]bool, t.high)}
	c.seen[0], c.seen[1] = true, true
	if free, err = c.freeList(t.list); err != nil {
		return nil, err
	}
	if err := c.walk(t.root, 0, nil, nil); err != nil {
		return nil, err
	}
	for id, seen := range c.seen {
		if !seen {
			return nil, wrong("page %d is lost", id)
		}
	}
	return free, nil
}

// page reads a page that nothing else leads to, with those that continue it. It is
// overwritten by the next of the same depth.
func (c *checker) page(id uint64, depth int) ([]byte, error) {
	if c.bufs[depth] == nil {
		c.bufs[depth] = make([]byte, pageSize)
	}
	p, err := c.read(id, c.bufs[depth])
	if err != nil {
		return nil, err
	}
	for i := id; i < id+uint64(len(p))/pageSize; i++ {
		if c.seen[i] {
			return nil, wrong("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	return p, nil
}

func (c *checker) freeList(id uint64) ([]uint64, error) {
	p, err := c.page(id, 0)
	if err != nil {
		return nil, err
	}
	count, b := uint64(native.Uint16(p[10:])), p[pageHead:]
	if count == 0xFFFF {
		count, b = native.Uint64(b), b[8:]
	}
	if native.Uint16(p[8:]) != flagFree || count > uint64(len(b))/8 {
		return nil, wrong("the list of free pages is altered")
	}
	free := make([]uint64, count)
	for i := range free {
		f := native.Uint64(b[8*i:])
		if f < 2 || f >= c.high || c.seen[f] {
			return nil, wrong("free page %d is in use", f)
		}
		c.seen[f], free[i] = true, f
	}
	return free, nil
}

// walk checks a tree whose keys are from min to below max, nil for no bound.
func (c *checker) walk(id uint64, depth int, min, max []byte) error {
	if depth > maxDepth {
		return wrong("page %d is too deep", id)
	}
	p, err := c.page(id, depth)
	if err != nil {
		return err
	}
	return c.content(p, id, depth, min, max)
}

// content checks a branch or leaf page, or a bucket's only page.
func (c *checker) content(p []byte, id uint64, depth int, min, max []byte) error {
	n, err := parse(p, id, min, max)
	if err != nil {
		return err
	}
	for i := range n.count {
		if n.leaf {
			value, flags := n.value(i)
			if err := c.leaf(flags, value, id, depth); err != nil {
				return err
			}
			continue
		}
		next := max
		if i+1 < n.count {
			next = n.key(i + 1)
		}
		if err := c.walk(n.child(i), depth+1, n.key(i), next); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks a leaf's element: a value, or a bucket.
func (c *checker) leaf(flags uint32, value []byte, id uint64, depth int) error {
	if flags == 0 {
		return nil
	}
	if flags != leafBucket || len(value) < bucketHead {
		return wrong("page %d has an altered element", id)
	}
	if root := native.Uint64(value); root != 0 {
		return c.walk(root, depth+1, nil, nil)
	}
	inline := value[bucketHead:]
	if len(inline) < pageHead || native.Uint16(inline[8:]) != flagLeaf || depth > maxDepth {
		return wrong("page %d has an altered bucket", id)
	}
	return c.content(inline, id, depth+1, nil, nil)
}
