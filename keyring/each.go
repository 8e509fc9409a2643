package keyring

import (
	"context"
	"errors"
)

// pageSize is about how many bytes of records are in memory at once.
const pageSize = 1 << 20

// errStop ends an each that has seen enough.
var errStop = errors.New("keyring: stop")

// each visits the records with a prefix, in the order of their keys. They are not of
// one moment where the store lists in pages.
func each(ctx context.Context, store Store, prefix string, visit func(Entry) error) error {
	p, ok := store.(Pager)
	if !ok {
		all, _, err := store.List(ctx, prefix)
		if err != nil {
			return err
		}
		for _, e := range all {
			if err := visit(e); err != nil {
				return err
			}
		}
		return nil
	}
	after, limit := "", 16
	for {
		page, more, err := p.Page(ctx, prefix, after, limit)
		if err != nil {
			return err
		}
		size := 1
		for _, e := range page {
			size += len(e.Key) + len(e.Value)
			if err := visit(e); err != nil {
				return err
			}
		}
		if !more || len(page) == 0 {
			return nil
		}
		after = page[len(page)-1].Key
		limit = min(max(len(page)*pageSize/size, 1), 4*limit, 4096)
	}
}
