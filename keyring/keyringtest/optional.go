package keyringtest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/chanseal/chanseal/keyring"
)

func checkPages(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		p, ok := s.(keyring.Pager)
		if !ok {
			return nil
		}
		keys := []string{"a", "p/1", "p/10", "p/2", "p/20", "p/3", "q"}
		for _, k := range keys {
			if _, err := s.CAS(ctx, k, []byte("v:"+k), 0); err != nil {
				return err
			}
		}
		for _, limit := range []int{1, 2, 5, 100} {
			for _, prefix := range []string{"", "p/", "p/1", "z"} {
				var want, got []string
				for _, k := range keys {
					if strings.HasPrefix(k, prefix) {
						want = append(want, k)
					}
				}
				for after, more := "", true; more; {
					page, next, err := p.Page(ctx, prefix, after, limit)
					if err != nil {
						return err
					}
					if len(page) > limit || next && len(page) == 0 {
						return fmt.Errorf("a page of %d records, for a limit of %d (more %v)", len(page), limit, next)
					}
					for _, e := range page {
						if string(e.Value) != "v:"+e.Key || e.Rev == 0 {
							return fmt.Errorf("Page gives %q at %d for %s", e.Value, e.Rev, e.Key)
						}
						got = append(got, e.Key)
						after = e.Key
					}
					more = next
				}
				if !slices.Equal(got, want) {
					return fmt.Errorf("pages of %d with %q give %q, want %q", limit, prefix, got, want)
				}
			}
		}
		return nil
	})
}

func checkFence(ctx context.Context, open Opener) error {
	return one(open, func(s keyring.Store) error {
		f, ok := s.(keyring.Fencer)
		if !ok {
			return nil
		}
		fence, err := s.CAS(ctx, "fence", []byte("1"), 0)
		if err != nil {
			return err
		}
		rev, err := f.CASFenced(ctx, "k", []byte("1"), 0, "fence", fence)
		if err != nil || rev <= fence {
			return fmt.Errorf("a write whose fence holds: revision %d after %d, %v", rev, fence, err)
		}
		_, err = f.CASFenced(ctx, "k", []byte("2"), 0, "fence", fence)
		if err := is("a fenced write that creates what is there", err, keyring.ErrConflict); err != nil {
			return err
		}
		moved, err := s.CAS(ctx, "fence", []byte("2"), fence)
		if err != nil {
			return err
		}
		for _, at := range []uint64{0, fence, moved + 1000} {
			_, err := f.CASFenced(ctx, "k", []byte("3"), rev, "fence", at)
			if err := is("a write whose fence was moved", err, keyring.ErrFenced); err != nil {
				return err
			}
		}
		if e, err := s.Get(ctx, "k"); err != nil || string(e.Value) != "1" || e.Rev != rev {
			return fmt.Errorf("a fenced write that was refused changed the record to %q at %d, %v", e.Value, e.Rev, err)
		}
		if _, err := f.CASFenced(ctx, "k", []byte("4"), rev, "fence", moved); err != nil {
			return err
		}
		_, err = f.CASFenced(ctx, "new", nil, 0, "never was", 0)
		return err
	})
}
