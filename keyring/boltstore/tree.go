package boltstore

import (
	"bytes"
	"hash/fnv"
	"io"
	"sort"
)

// tree reads a file page by page, and believes no page before it looked at it: its
// number, its kind, that its elements lie inside and that its keys stand in order and
// between those of the page that leads to it. It is how a large file is read, of which
// looking at all pages first would take too long.
type tree struct {
	file io.ReaderAt
	root uint64 // page of the bucket of buckets
	list uint64 // page of the list of free pages
	high uint64 // pages from here on are not in use
	txid uint64
}

// readTree looks at the meta pages. The file has that many bytes.
func readTree(file io.ReaderAt, size int64) (*tree, error) {
	t := &tree{file: file}
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
			t.root, t.list, t.high, t.txid = native.Uint64(b[16:]), native.Uint64(b[32:]), native.Uint64(b[40:]), txid[i]
		}
	}
	// Each transaction writes the older meta page: one that fell back is damage.
	if d := int64(txid[0] - txid[1]); d != 1 && d != -1 {
		return nil, wrong("meta pages of transactions %d and %d", txid[0], txid[1])
	}
	if t.high < 4 || t.high > maxFile/pageSize {
		return nil, wrong("a high water mark of %d pages", t.high)
	}
	// bbolt grows a file to one page behind those in use before it writes them, and
	// here no further: a shorter one was cut, even if nothing that is in use is missing.
	if t.high > 4 && uint64(size) < (t.high+1)*pageSize {
		return nil, wrong("cut to %d bytes", size)
	}
	return t, nil
}

// read returns a page with those that continue it, in buf if it is one page only.
func (t *tree) read(id uint64, buf []byte) ([]byte, error) {
	if id < 2 || id >= t.high {
		return nil, wrong("page %d of %d", id, t.high)
	}
	if buf == nil {
		buf = make([]byte, pageSize)
	}
	if _, err := t.file.ReadAt(buf, int64(id)*pageSize); err != nil {
		return nil, wrong("page %d cannot be read", id)
	}
	n := uint64(native.Uint32(buf[12:])) + 1
	if native.Uint64(buf) != id || n > t.high-id {
		return nil, wrong("page %d has an altered head", id)
	}
	if n > 1 {
		buf = make([]byte, n*pageSize)
		if _, err := t.file.ReadAt(buf, int64(id)*pageSize); err != nil {
			return nil, wrong("page %d cannot be read", id)
		}
	}
	return buf, nil
}

// node is a branch or leaf page, or a bucket's only page, whose form was looked at.
type node struct {
	page  []byte
	id    uint64
	leaf  bool
	count int
}

// parse looks at a page whose keys are to be from min to below max, nil for no bound.
func parse(p []byte, id uint64, min, max []byte) (node, error) {
	flags, count := native.Uint16(p[8:]), int(native.Uint16(p[10:]))
	if flags != flagLeaf && (flags != flagBranch || count == 0) {
		return node{}, wrong("page %d is of no kind that belongs there", id)
	}
	if pageHead+count*elementLen > len(p) {
		return node{}, wrong("page %d has an altered head", id)
	}
	n := node{p, id, flags == flagLeaf, count}
	var last []byte
	for i := range count {
		e := p[pageHead+i*elementLen:]
		pos, ksize, vsize := n.extent(e)
		if pos < uint64((count-i)*elementLen) || pos+ksize+vsize > uint64(len(e)) {
			return node{}, wrong("page %d has an altered element", id)
		}
		key := e[pos : pos+ksize]
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return node{}, wrong("page %d has keys out of order", id)
		}
		last = key
	}
	if count > 0 && (min != nil && bytes.Compare(n.key(0), min) < 0 || max != nil && bytes.Compare(last, max) >= 0) {
		return node{}, wrong("page %d has keys out of order", id)
	}
	return n, nil
}

func (n node) extent(e []byte) (pos, ksize, vsize uint64) {
	if n.leaf {
		return uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
	}
	return uint64(native.Uint32(e)), uint64(native.Uint32(e[4:])), 0
}

func (n node) key(i int) []byte {
	e := n.page[pageHead+i*elementLen:]
	pos, ksize, _ := n.extent(e)
	return e[pos : pos+ksize]
}

// value returns the value of a leaf's element, and its flags.
func (n node) value(i int) ([]byte, uint32) {
	e := n.page[pageHead+i*elementLen:]
	pos, ksize, vsize := n.extent(e)
	return e[pos+ksize : pos+ksize+vsize], native.Uint32(e)
}

// child returns the page that a branch's element leads to.
func (n node) child(i int) uint64 { return native.Uint64(n.page[pageHead+i*elementLen+8:]) }

// from is the first element of a leaf whose key is not below key, and the element of a
// branch that leads to it.
func (n node) from(key []byte) int {
	i := sort.Search(n.count, func(i int) bool { return bytes.Compare(n.key(i), key) >= 0 })
	if !n.leaf && i > 0 && (i == n.count || !bytes.Equal(n.key(i), key)) {
		i--
	}
	return i
}

// bucket returns the root of a bucket, by the value that stands for it.
func (t *tree) bucket(value []byte, id uint64) (node, error) {
	if len(value) < bucketHead {
		return node{}, wrong("page %d has an altered element", id)
	}
	if root := native.Uint64(value); root != 0 {
		return t.node(root, nil, nil)
	}
	inline := value[bucketHead:]
	if len(inline) < pageHead || native.Uint16(inline[8:]) != flagLeaf {
		return node{}, wrong("page %d has an altered bucket", id)
	}
	return parse(inline, id, nil, nil)
}

func (t *tree) node(id uint64, min, max []byte) (node, error) {
	p, err := t.read(id, nil)
	if err != nil {
		return node{}, err
	}
	return parse(p, id, min, max)
}

// find returns the value under the last name of the path, which leads through buckets;
// nil if it, or one of them, is not there.
func (t *tree) find(path ...[]byte) ([]byte, error) {
	n, err := t.node(t.root, nil, nil)
	if err != nil {
		return nil, err
	}
	for depth, name := range path {
		value, flags, err := t.seek(n, name)
		last := depth == len(path)-1
		if err != nil || value == nil || last {
			if err == nil && value != nil && flags != 0 {
				err = wrong("a bucket is where a record belongs")
			}
			return value, err
		}
		if flags != leafBucket {
			return nil, wrong("a record is where a bucket belongs")
		}
		if n, err = t.bucket(value, n.id); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// seek goes down from n to a key.
func (t *tree) seek(n node, key []byte) ([]byte, uint32, error) {
	var min, max []byte
	for range maxDepth {
		i := n.from(key)
		if n.leaf {
			if i == n.count || !bytes.Equal(n.key(i), key) {
				return nil, 0, nil
			}
			value, flags := n.value(i)
			return value, flags, nil
		}
		min = n.key(i)
		if i+1 < n.count {
			max = n.key(i + 1)
		}
		var err error
		if n, err = t.node(n.child(i), min, max); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, wrong("page %d is too deep", n.id)
}

// has reports whether there is a bucket.
func (t *tree) has(path ...[]byte) (bool, error) {
	n, err := t.node(t.root, nil, nil)
	for i, name := range path {
		if err != nil {
			return false, err
		}
		value, flags, err := t.seek(n, name)
		if err != nil || value == nil {
			return false, err
		}
		if flags != leafBucket {
			return false, wrong("a record is where a bucket belongs")
		}
		if i == len(path)-1 {
			return true, nil
		}
		if n, err = t.bucket(value, n.id); err != nil {
			return false, err
		}
	}
	return false, err
}

// ascend calls each for the records of a bucket whose keys are not below from, in order,
// until it says no.
func (t *tree) ascend(name, from []byte, each func(k, v []byte) bool) error {
	n, err := t.node(t.root, nil, nil)
	if err != nil {
		return err
	}
	value, flags, err := t.seek(n, name)
	if err != nil || value == nil {
		return err
	}
	if flags != leafBucket {
		return wrong("a record is where a bucket belongs")
	}
	if n, err = t.bucket(value, n.id); err != nil {
		return err
	}
	_, err = t.ascendFrom(n, nil, from, each, 0)
	return err
}

func (t *tree) ascendFrom(n node, max, from []byte, each func(k, v []byte) bool, depth int) (more bool, err error) {
	if depth > maxDepth {
		return false, wrong("page %d is too deep", n.id)
	}
	for i := n.from(from); i < n.count; i++ {
		if n.leaf {
			if v, flags := n.value(i); flags != 0 {
				return false, wrong("a bucket is where a record belongs")
			} else if !each(n.key(i), v) {
				return false, nil
			}
			continue
		}
		next := max
		if i+1 < n.count {
			next = n.key(i + 1)
		}
		child, err := t.node(n.child(i), n.key(i), next)
		if err != nil {
			return false, err
		}
		if more, err := t.ascendFrom(child, next, from, each, depth+1); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}
