package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"

	"github.com/chanseal/chanseal/keyring"
)

// bbolt trusts its file: an altered page makes it panic, run in circles, or
// hand out pages that are in use. So the file is checked first, page by page,
// with the lock held: both meta pages are whole, every page is reached exactly
// once, or is free, or belongs to the free list, and all keys stand in order.
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

type checker struct {
	file io.ReaderAt
	high uint64 // pages from here on are not in use
	seen []bool // by page
}

// wrong says what is wrong with the pages.
func wrong(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, keyring.ErrDamaged)...)
}

// check returns the pages that hold nothing. The file has that many bytes.
func check(file io.ReaderAt, size int64) (free []uint64, err error) {
	c := &checker{file: file}
	var root, freelist uint64
	var txid [2]uint64
	for i := range txid {
		m := make([]byte, pageSize)
		if _, err := file.ReadAt(m, int64(i)*pageSize); err != nil {
			return nil, wrong("meta page %d cannot be read", i)
		}
		if native.Uint64(m) != uint64(i) || native.Uint16(m[8:]) != flagMeta {
			return nil, wrong("page %d is no meta page", i)
		}
		b := m[pageHead:][:metaLen]
		h := fnv.New64a()
		h.Write(b[:56])
		if native.Uint32(b) != 0xED0CDAED || native.Uint32(b[4:]) != 2 || native.Uint32(b[8:]) != pageSize || native.Uint64(b[56:]) != h.Sum64() {
			return nil, wrong("meta page %d is altered", i)
		}
		txid[i] = native.Uint64(b[48:])
		if txid[i]%2 != uint64(i) {
			return nil, wrong("meta page %d is the other one's", i)
		}
		if i == 0 || txid[1] > txid[0] {
			root, freelist, c.high = native.Uint64(b[16:]), native.Uint64(b[32:]), native.Uint64(b[40:])
		}
	}
	// Each transaction writes the older meta page: one that fell back is damage.
	if d := int64(txid[0] - txid[1]); d != 1 && d != -1 {
		return nil, wrong("meta pages of transactions %d and %d", txid[0], txid[1])
	}
	if c.high < 4 || c.high > maxFile/pageSize {
		return nil, wrong("a high water mark of %d pages", c.high)
	}
	// bbolt grows a file to one page behind those in use before it writes them, and
	// here no further: a shorter one was cut, even if nothing that is in use is missing.
	if c.high > 4 && uint64(size) < (c.high+1)*pageSize {
		return nil, wrong("cut to %d bytes", size)
	}
	c.seen = make([]bool, c.high)
	c.seen[0], c.seen[1] = true, true
	if free, err = c.freeList(freelist); err != nil {
		return nil, err
	}
	if err := c.walk(root, 0, nil, nil); err != nil {
		return nil, err
	}
	for id, seen := range c.seen {
		if !seen {
			return nil, wrong("page %d is lost", id)
		}
	}
	return free, nil
}

// page reads a page that nothing else leads to, with those that continue it.
func (c *checker) page(id uint64) ([]byte, error) {
	if id < 2 || id >= c.high {
		return nil, wrong("page %d of %d", id, c.high)
	}
	p := make([]byte, pageSize)
	if _, err := c.file.ReadAt(p, int64(id)*pageSize); err != nil {
		return nil, wrong("page %d cannot be read", id)
	}
	n := uint64(native.Uint32(p[12:])) + 1
	if native.Uint64(p) != id || n > c.high-id {
		return nil, wrong("page %d has an altered head", id)
	}
	for i := id; i < id+n; i++ {
		if c.seen[i] {
			return nil, wrong("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	if n > 1 {
		p = make([]byte, n*pageSize)
		if _, err := c.file.ReadAt(p, int64(id)*pageSize); err != nil {
			return nil, wrong("page %d cannot be read", id)
		}
	}
	return p, nil
}

func (c *checker) freeList(id uint64) ([]uint64, error) {
	p, err := c.page(id)
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
	p, err := c.page(id)
	if err != nil {
		return err
	}
	return c.content(p, id, depth, min, max)
}

// content checks a branch or leaf page, or a bucket's only page.
func (c *checker) content(p []byte, id uint64, depth int, min, max []byte) error {
	flags, count := native.Uint16(p[8:]), int(native.Uint16(p[10:]))
	if flags != flagLeaf && (flags != flagBranch || count == 0) {
		return wrong("page %d is of no kind that belongs there", id)
	}
	if pageHead+count*elementLen > len(p) {
		return wrong("page %d has an altered head", id)
	}
	var last []byte
	var keys [][]byte
	for i := range count {
		e := p[pageHead+i*elementLen:]
		var pos, ksize, vsize uint64
		if flags == flagLeaf {
			pos, ksize, vsize = uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
		} else {
			pos, ksize = uint64(native.Uint32(e)), uint64(native.Uint32(e[4:]))
		}
		if pos < uint64((count-i)*elementLen) || pos+ksize+vsize > uint64(len(e)) {
			return wrong("page %d has an altered element", id)
		}
		key, value := e[pos:pos+ksize], e[pos+ksize:pos+ksize+vsize]
		if i > 0 && bytes.Compare(last, key) >= 0 || min != nil && bytes.Compare(key, min) < 0 || max != nil && bytes.Compare(key, max) >= 0 {
			return wrong("page %d has keys out of order", id)
		}
		last = key
		keys = append(keys, key)
		if flags == flagLeaf {
			if err := c.leaf(native.Uint32(e), value, id, depth); err != nil {
				return err
			}
		}
	}
	if flags == flagLeaf {
		return nil
	}
	for i, key := range keys {
		next := max
		if i+1 < len(keys) {
			next = keys[i+1]
		}
		if err := c.walk(native.Uint64(p[pageHead+i*elementLen+8:]), depth+1, key, next); err != nil {
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
